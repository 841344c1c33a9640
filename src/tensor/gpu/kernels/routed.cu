// Routers and the experts that samples are routed to. A choice is a pair of a sample and one of its experts; experts'
// choices lie in slots, `most` an expert, the last of them empty where an expert has fewer.

// Chooses `top_k` experts for each sample, as cpu/routes.rs does; `scores` and `biased` hold R values a sample, `best` G
KERNEL(choose_experts) {
    FLOATS(0, logits); FLOATS(1, bias); FLOATS(2, scores); FLOATS(3, biased); FLOATS(4, best); INDICES(5, chosen); FLOATS(6, gates);
    NUMBER(7, experts); NUMBER(8, top_k); NUMBER(9, groups); NUMBER(10, groups_kept); NUMBER(11, normalise); REAL(12, scaling); REAL(13, eps);
    EACH(b) {
        float *s = scores + (u64)b * experts, *t = biased + (u64)b * experts, *g = best + (u64)b * groups;
        u32* choice = chosen + (u64)b * top_k;
        for (u32 j = 0; j < experts; j++) {
            s[j] = sigmoid(logits[(u64)b * experts + j]);
            t[j] = s[j] + bias[j];
        }
        if (groups > 1) {
            u32 size = experts / groups;
            for (u32 k = 0; k < groups; k++) {
                float first = LEAST, second = LEAST;
                for (u32 j = k * size; j < (k + 1) * size; j++) {
                    if (t[j] > first) {
                        second = first;
                        first = t[j];
                    } else {
                        second = fmaxf(second, t[j]);
                    }
                }
                g[k] = first + second;
            }
            for (u32 kept = 0; kept < groups_kept; kept++) {
                u32 top = 0;
                for (u32 k = 1; k < groups; k++)
                    if (g[k] > g[top]) top = k;
                g[top] = LEAST;
            }
            for (u32 k = 0; k < groups; k++)
                if (g[k] != LEAST)
                    for (u32 j = k * size; j < (k + 1) * size; j++) t[j] = LEAST;
        }
        for (u32 c = 0; c < top_k; c++) {
            u32 top = 0;
            for (u32 j = 1; j < experts; j++)
                if (t[j] > t[top]) top = j;
            t[top] = LEAST;
            u32 at = c;
            for (; at > 0 && choice[at - 1] > top; at--) choice[at] = choice[at - 1];
            choice[at] = top;
        }
        float sum = 0.0f;
        for (u32 c = 0; c < top_k; c++) sum += s[choice[c]];
        float factor = scaling / (normalise && top_k > 1 ? sum + eps : 1.0f);
        for (u32 c = 0; c < top_k; c++) gates[(u64)b * top_k + c] = s[choice[c]] * factor;
    }
}

KERNEL(choose_experts_back) {
    FLOATS(0, logits); INDICES(1, chosen); FLOATS(2, c); FLOATS(3, sink);
    NUMBER(4, experts); NUMBER(5, top_k); NUMBER(6, normalise); REAL(7, scaling); REAL(8, eps); NUMBER(9, add);
    EACH(b) {
        const float *x = logits + (u64)b * experts, *cs = c + (u64)b * top_k;
        const u32* choice = chosen + (u64)b * top_k;
        float* to = sink + (u64)b * experts;
        if (!add)
            for (u32 j = 0; j < experts; j++) to[j] = 0.0f;
        u32 normalised = normalise && top_k > 1;
        float sum = 0.0f, inner = 0.0f;
        for (u32 k = 0; k < top_k; k++) {
            float s = sigmoid(x[choice[k]]);
            sum += s;
            inner += s * cs[k];
        }
        float divisor = normalised ? sum + eps : 1.0f;
        inner = normalised ? inner / divisor : 0.0f;
        for (u32 k = 0; k < top_k; k++) {
            float s = sigmoid(x[choice[k]]);
            to[choice[k]] += scaling / divisor * (cs[k] - inner) * s * (1.0f - s);
        }
    }
}

// b_j += rate·sign(mean load − load_j)
KERNEL(balance_loads) {
    FLOATS(0, loads); FLOATS(1, bias); REAL(2, rate);
    EACH(i) {
        double total = 0.0;
        for (u32 j = 0; j < n; j++) total += loads[j];
        double excess = (double)loads[i] * n - total;
        if (excess != 0.0) bias[i] -= excess > 0.0 ? rate : -rate;
    }
}

// out[slot] = x[sample of the slot's choice], zeros in empty slots
KERNEL(fill_slots) {
    FLOATS(0, x); INDICES(1, starts); INDICES(2, by_sample); FLOATS(3, out); NUMBER(4, cols); NUMBER(5, most); NUMBER(6, top_k);
    EACH(i) {
        u32 slot = i / cols, e = slot / most, choice = starts[e] + slot % most;
        out[i] = choice < starts[e + 1] ? x[(u64)(by_sample[choice] / top_k) * cols + i % cols] : 0.0f;
    }
}

// Weighted hidden units of each slot from [g | u], which `kept` holds by choice
KERNEL(slot_units) {
    FLOATS(0, projected); FLOATS(1, gates); INDICES(2, starts); INDICES(3, by_sample); FLOATS(4, kept); FLOATS(5, units); NUMBER(6, hidden); NUMBER(7, most);
    EACH(i) {
        u32 slot = i / hidden, j = i % hidden, e = slot / most, choice = starts[e] + slot % most;
        float unit = 0.0f;
        if (choice < starts[e + 1]) {
            const float* from = projected + (u64)slot * 2 * hidden;
            float* to = kept + (u64)choice * 2 * hidden;
            float g = from[j], u = from[hidden + j];
            to[j] = g;
            to[hidden + j] = u;
            unit = gates[by_sample[choice]] * (g * sigmoid(g) * u);
        }
        units[i] = unit;
    }
}

// out[b] (+)= Σ over the choices of sample b of their slots' rows
KERNEL(sum_slots) {
    FLOATS(0, slots); INDICES(1, slot_of); FLOATS(2, out); NUMBER(3, cols); NUMBER(4, top_k); NUMBER(5, add);
    EACH(i) {
        u32 b = i / cols, j = i % cols;
        float sum = add ? out[i] : 0.0f;
        for (u32 k = 0; k < top_k; k++) sum += slots[(u64)slot_of[(u64)b * top_k + k] * cols + j];
        out[i] = sum;
    }
}

// The pull-back at the hidden units of each slot: weighted units, cotangents of [g | u], and in `terms` what the gate
// value's gradient sums
KERNEL(slot_units_back) {
    FLOATS(0, kept); FLOATS(1, gates); INDICES(2, starts); INDICES(3, by_sample); FLOATS(4, d_units);
    FLOATS(5, units); FLOATS(6, d_projected); FLOATS(7, terms); NUMBER(8, hidden); NUMBER(9, most);
    EACH(i) {
        u32 slot = i / hidden, j = i % hidden, e = slot / most, choice = starts[e] + slot % most;
        float* to = d_projected + (u64)slot * 2 * hidden;
        float unit = 0.0f, term = 0.0f, dg = 0.0f, du = 0.0f;
        if (choice < starts[e + 1]) {
            const float* from = kept + (u64)choice * 2 * hidden;
            float weight = gates[by_sample[choice]], g = from[j], u = from[hidden + j];
            float s = sigmoid(g), silu = g * s, slope = u * s * (1.0f + g * (1.0f - s));
            term = silu * u * d_units[i];
            unit = weight * (silu * u);
            dg = weight * d_units[i] * slope;
            du = weight * d_units[i] * silu;
        }
        units[i] = unit;
        terms[i] = term;
        to[j] = dg;
        to[hidden + j] = du;
    }
}

// gates[choice] (+)= Σ terms[slot of the choice]
KERNEL(sum_gate_terms) {
    FLOATS(0, terms); INDICES(1, slot_of); FLOATS(2, gates); NUMBER(3, hidden); NUMBER(4, add);
    EACH(i) {
        const float* from = terms + (u64)slot_of[i] * hidden;
        float sum = 0.0f;
        for (u32 j = 0; j < hidden; j++) sum += from[j];
        put(&gates[i], sum, add);
    }
}
