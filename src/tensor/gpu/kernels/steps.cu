// Optimizer steps, and what balancers ask of gradients. A parameter's gradients hold all of its elements, or of a table the
// rows of a batch: `of` then says which row of the gradient belongs to a row of the table, if any.

struct Step {
    float step_size, beta1, beta2, root_correction2, eps, weight_decay, keep;
};

#define STEP(at)                                                                                                       \
    Step step;                                                                                                         \
    step.step_size = __uint_as_float((u32)arguments.slot[at]);                                                         \
    step.beta1 = __uint_as_float((u32)arguments.slot[at + 1]);                                                         \
    step.beta2 = __uint_as_float((u32)arguments.slot[at + 2]);                                                         \
    step.root_correction2 = __uint_as_float((u32)arguments.slot[at + 3]);                                              \
    step.eps = __uint_as_float((u32)arguments.slot[at + 4]);                                                           \
    step.weight_decay = __uint_as_float((u32)arguments.slot[at + 5]);                                                  \
    step.keep = __uint_as_float((u32)arguments.slot[at + 6])

// Where the gradient of element i lies, or absent.
DEVICE u32 place(const u32* of, u32 width, u32 i) {
    if (!of) return i;
    u32 row = of[i / width];
    return row == ABSENT ? ABSENT : row * width + i % width;
}

// Σ weight·gradient at a place; a weight and an address for each term from slot `at` on.
DEVICE float weighted(const Arguments& arguments, u32 at, u32 terms, u32 i) {
    float sum = 0.0f;
    if (i != ABSENT)
        for (u32 t = 0; t < terms; t++) sum += __uint_as_float((u32)arguments.slot[at + 2 * t]) * ((const float*)arguments.slot[at + 2 * t + 1])[i];
    return sum;
}

DEVICE void move_moments(const Step& step, float g, float* m, float* v) {
    *m += (1.0f - step.beta1) * (g - *m);
    *v = step.beta2 * *v + (1.0f - step.beta2) * g * g;
}

DEVICE void update(const Step& step, float g, float* value, float* m, float* v) {
    g += step.weight_decay * *value;
    move_moments(step, g, m, v);
    *value = step.keep * *value - step.step_size * *m / (sqrtf(*v) / step.root_correction2 + step.eps);
}

// out[i] (+)= Σ weight·gradient, for more terms than one kernel takes
KERNEL(weighted_sum) {
    FLOATS(0, out); NUMBER(1, add); NUMBER(2, terms);
    EACH(i) { put(&out[i], weighted(arguments, 3, terms, i), add); }
}

KERNEL(adam) {
    FLOATS(0, value); FLOATS(1, m); FLOATS(2, v); INDICES(3, of); NUMBER(4, width); STEP(5); NUMBER(12, terms);
    EACH(i) { update(step, weighted(arguments, 13, terms, place(of, width, i)), &value[i], &m[i], &v[i]); }
}

// The same for the rows of a batch alone
KERNEL(adam_rows) {
    FLOATS(0, value); FLOATS(1, m); FLOATS(2, v); INDICES(3, rows); NUMBER(4, width); STEP(5); NUMBER(12, terms);
    EACH(i) {
        u64 at = (u64)rows[i / width] * width + i % width;
        update(step, weighted(arguments, 13, terms, i), &value[at], &m[at], &v[at]);
    }
}

// Steps without a gradient that rows have missed: `steps` holds size and root correction of each step from the first.
KERNEL(adam_missed) {
    FLOATS(0, value); FLOATS(1, m); FLOATS(2, v); INDICES(3, rows); NUMBER(4, width); STEP(5);
    INDICES(12, taken); FLOATS(13, steps); NUMBER(14, now); NUMBER(15, window);
    EACH(i) {
        u32 from = taken[i / width], left = now - from;
        u32 end = left < window ? now : from + window;
        u64 at = (u64)rows[i / width] * width + i % width;
        float x = value[at], first = m[at], second = v[at];
        for (u32 t = from; t < end; t++) {
            step.step_size = steps[2 * t];
            step.root_correction2 = steps[2 * t + 1];
            update(step, 0.0f, &x, &first, &second);
        }
        if (end < now) {
            first *= (float)pow((double)step.beta1, (double)(now - end));
            second *= (float)pow((double)step.beta2, (double)(now - end));
        }
        value[at] = x;
        m[at] = first;
        v[at] = second;
    }
}

// Adam's step with ε added to the uncorrected root.
DEVICE float uncorrected(const Step& step, float m, float v) {
    return step.step_size * step.root_correction2 * m / (sqrtf(v) + step.eps);
}

// Moves the moments and finds how much of its step each held coordinate allows
KERNEL(clip_limits) {
    FLOATS(0, value); FLOATS(1, m); FLOATS(2, v); INDICES(3, of); NUMBER(4, width); STEP(5); NUMBER(12, terms);
    FLOATS(13, limits); REAL(14, relative); REAL(15, absolute);
    EACH(i) {
        u32 at = place(of, width, i);
        move_moments(step, weighted(arguments, 16, terms, at), &m[i], &v[i]);
        float far = fabsf(uncorrected(step, m[i], v[i])), limit = 1.0f;
        if (at != ABSENT && far > 0.0f) limit = fminf(limit, (relative * fabsf(step.keep * value[i]) + absolute) / far);
        limits[i] = limit;
    }
}

KERNEL(clip_step) {
    FLOATS(0, value); FLOATS(1, m); FLOATS(2, v); FLOATS(3, share); STEP(4);
    EACH(i) { value[i] = step.keep * value[i] - share[0] * uncorrected(step, m[i], v[i]); }
}

DEVICE float one_update(const Step& step, float m, float v, float g) {
    move_moments(step, g, &m, &v);
    return step.step_size * m / (sqrtf(v) / step.root_correction2 + step.eps);
}

// The step that Adam would take with this gradient; without one, with zero
KERNEL(update_of) {
    FLOATS(0, m); FLOATS(1, v); INDICES(2, of); NUMBER(3, width); STEP(4); FLOATS(11, gradient); FLOATS(12, out);
    EACH(i) {
        u32 at = place(of, width, i);
        out[i] = one_update(step, m[i], v[i], gradient && at != ABSENT ? gradient[at] : 0.0f);
    }
}

// One step by the weighted sum of the tasks' updates; an address of 0 stands for a gradient that is absent
KERNEL(adam_by_task) {
    FLOATS(0, value); FLOATS(1, m); FLOATS(2, v); INDICES(3, of); NUMBER(4, width); STEP(5); NUMBER(12, terms);
    EACH(i) {
        u32 at = place(of, width, i);
        float far = 0.0f, sum = 0.0f;
        for (u32 t = 0; t < terms; t++) {
            float weight = __uint_as_float((u32)arguments.slot[13 + 2 * t]);
            const float* gradient = (const float*)arguments.slot[14 + 2 * t];
            float g = gradient && at != ABSENT ? gradient[at] : 0.0f;
            far += weight * one_update(step, m[i], v[i], g);
            sum += weight * g;
        }
        value[i] = step.keep * value[i] - far;
        move_moments(step, sum, &m[i], &v[i]);
    }
}

// y ← keep·y + take·g
KERNEL(blend) {
    FLOATS(0, average); FLOATS(1, gradient); INDICES(2, of); NUMBER(3, width); REAL(4, keep); REAL(5, take);
    EACH(i) {
        u32 at = place(of, width, i);
        average[i] = keep * average[i] + (at == ABSENT ? 0.0f : take * gradient[at]);
    }
}

// S += g², and part[i] = Σ g²/√(S + ε) over elements i, i + n, … of the gradient
KERNEL(excess_parts) {
    FLOATS(0, sums); FLOATS(1, gradient); INDICES(2, rows); NUMBER(3, width); DOUBLES(4, part); NUMBER(5, len); REAL(6, eps);
    EACH(i) {
        double total = 0.0;
        for (u32 j = i; j < len; j += n) {
            u64 at = rows ? (u64)rows[j / width] * width + j % width : j;
            float square = gradient[j] * gradient[j];
            sums[at] += square;
            total += (double)(square / sqrtf(sums[at] + eps));
        }
        part[i] = total;
    }
}

// part[pair, i] += Σ x·y over elements i, i + stride, …, for the pairs (k, l ≥ k) of K ≤ 4 gradients
template <int K> DEVICE void add_dots(const Arguments& arguments, double* part, u32 threads, u32 len, u32 stride, u32 i) {
    double sums[K * (K + 1) / 2] = {0.0};
    for (u32 j = i; j < len; j += stride) {
        double x[K];
        for (int k = 0; k < K; k++) x[k] = ((const float*)arguments.slot[4 + k])[j];
        int pair = 0;
        for (int k = 0; k < K; k++)
            for (int l = k; l < K; l++) sums[pair++] += x[k] * x[l];
    }
    for (int pair = 0; pair < K * (K + 1) / 2; pair++) part[(u64)pair * threads + i] += sums[pair];
}

KERNEL(gram_parts) {
    DOUBLES(0, part); NUMBER(1, len); NUMBER(2, tasks); NUMBER(3, threads);
    EACH(i) {
        switch (tasks) {
        case 1: add_dots<1>(arguments, part, threads, len, n, i); break;
        case 2: add_dots<2>(arguments, part, threads, len, n, i); break;
        case 3: add_dots<3>(arguments, part, threads, len, n, i); break;
        case 4: add_dots<4>(arguments, part, threads, len, n, i); break;
        }
    }
}

// part[i] += Σ x·y over elements i, i + n, …
KERNEL(dot_parts) {
    DOUBLES(0, part); FLOATS(1, x); FLOATS(2, y); NUMBER(3, len);
    EACH(i) {
        double sum = 0.0;
        for (u32 j = i; j < len; j += n) sum += (double)x[j] * (double)y[j];
        part[i] += sum;
    }
}

KERNEL(clear_doubles) {
    DOUBLES(0, out);
    EACH(i) { out[i] = 0.0; }
}

// out[row] = Σ in[row, ·], rows of `cols` values in order
KERNEL(sum_double_rows) {
    DOUBLES(0, in); DOUBLES(1, out); NUMBER(2, cols);
    EACH(i) {
        double sum = 0.0;
        for (u32 j = 0; j < cols; j++) sum += in[(u64)i * cols + j];
        out[i] = sum;
    }
}
