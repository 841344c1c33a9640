// Copies, sums, and everything element by element.

// out[i] = value
KERNEL(fill) {
    FLOATS(0, out); REAL(1, value);
    EACH(i) { out[i] = value; }
}

// to[i] (+)= from[i]
KERNEL(copy) {
    FLOATS(0, from); FLOATS(1, to); NUMBER(2, add);
    EACH(i) { put(&to[i], from[i], add); }
}

// to[i] (+)= weight·from[i]
KERNEL(scale) {
    FLOATS(0, from); FLOATS(1, to); REAL(2, weight); NUMBER(3, add);
    EACH(i) { put(&to[i], weight * from[i], add); }
}

// x[e, b, j] += bias[e, j]
KERNEL(add_bias) {
    FLOATS(0, bias); FLOATS(1, x); NUMBER(2, cols); NUMBER(3, per_group);
    EACH(i) { x[i] += bias[i / per_group * cols + i % cols]; }
}

// Sums of chunks of rows: part[e, chunk, j] = Σ x[e, b, j], for rows that are `stride` apart
KERNEL(column_parts) {
    FLOATS(0, x); FLOATS(1, part); NUMBER(2, cols); NUMBER(3, batch); NUMBER(4, rows); NUMBER(5, chunks); NUMBER(6, stride);
    EACH(i) {
        u32 j = i % cols, chunk = i / cols % chunks, group = i / cols / chunks;
        u32 end = least((chunk + 1) * rows, batch);
        const float* at = x + (u64)group * batch * stride + j;
        float sum = 0.0f;
        for (u32 b = chunk * rows; b < end; b++) sum += at[(u64)b * stride];
        part[i] = sum;
    }
}

// out[e, j] (+)= Σ part[e, chunk, j]
KERNEL(column_sums) {
    FLOATS(0, part); FLOATS(1, out); NUMBER(2, cols); NUMBER(3, chunks); NUMBER(4, add);
    EACH(i) {
        u32 j = i % cols, group = i / cols;
        double sum = 0.0;
        for (u32 chunk = 0; chunk < chunks; chunk++) sum += part[(group * chunks + chunk) * cols + j];
        put(&out[i], (float)sum, add);
    }
}

// out[i] = Σ in[i], in[i + n], in[i + 2n], …
KERNEL(sum_doubles) {
    DOUBLES(0, in); DOUBLES(1, out); NUMBER(2, len);
    EACH(i) {
        double sum = 0.0;
        for (u32 j = i; j < len; j += n) sum += in[j];
        out[i] = sum;
    }
}

// out[i] = min of in[i], in[i + n], …
KERNEL(smallest) {
    FLOATS(0, in); FLOATS(1, out); NUMBER(2, len);
    EACH(i) {
        float least = in[i];
        for (u32 j = i + n; j < len; j += n) least = fminf(least, in[j]);
        out[i] = least;
    }
}

// part[i] = Σ of the binary cross-entropies of logits i, i + n, …
KERNEL(bce_parts) {
    FLOATS(0, logits); FLOATS(1, labels); DOUBLES(2, part); NUMBER(3, len);
    EACH(i) {
        double sum = 0.0;
        for (u32 j = i; j < len; j += n) {
            double z = logits[j], y = labels[j];
            sum += fmax(z, 0.0) - z * y + log1p(exp(-fabs(z)));
        }
        part[i] = sum;
    }
}

KERNEL(bce_back) {
    FLOATS(0, logits); FLOATS(1, labels); FLOATS(2, cotangent); FLOATS(3, sink); NUMBER(4, add);
    EACH(i) { put(&sink[i], cotangent[0] / (float)n * (sigmoid(logits[i]) - labels[i]), add); }
}

KERNEL(relu_dropout) {
    FLOATS(0, x); FLOATS(1, out); NUMBER(2, threshold); REAL(3, keep); NUMBER(4, key0); NUMBER(5, key1);
    EACH(i) {
        float y = fmaxf(x[i], 0.0f) * keep;
        out[i] = element_hash(key0, key1, i) >= threshold ? y : 0.0f;
    }
}

KERNEL(relu_dropout_back) {
    FLOATS(0, out); FLOATS(1, c); REAL(2, keep);
    EACH(i) { c[i] = out[i] > 0.0f ? keep * c[i] : 0.0f; }
}

// out[b] = [row | x[b]]
KERNEL(prefix_rows) {
    FLOATS(0, row); FLOATS(1, x); FLOATS(2, out); NUMBER(3, front); NUMBER(4, width);
    EACH(i) {
        u32 b = i / (front + width), j = i % (front + width);
        out[i] = j < front ? row[j] : x[b * width + j - front];
    }
}

KERNEL(prefix_rows_back) {
    FLOATS(0, c); FLOATS(1, x); NUMBER(2, front); NUMBER(3, width); NUMBER(4, add);
    EACH(i) { put(&x[i], c[i / width * (front + width) + front + i % width], add); }
}

// 1/(σ(a)·σ(b)) − 1 = e^−a + e^−b + e^−(a+b): the logarithm of the sum, and the shares of its terms
DEVICE double odds_against(double a, double b, double* of_a, double* of_both) {
    double most = fmax(fmax(-a, -b), -a - b);
    double ea = exp(-a - most), eb = exp(-b - most), both = exp(-a - b - most);
    double sum = ea + eb + both;
    *of_a = ea / sum;
    *of_both = both / sum;
    return most + log(sum);
}

KERNEL(product_logits) {
    FLOATS(0, a); FLOATS(1, b); FLOATS(2, out);
    EACH(i) {
        double of_a, of_both;
        out[i] = (float)-odds_against(a[i], b[i], &of_a, &of_both);
    }
}

KERNEL(product_logits_back) {
    FLOATS(0, a); FLOATS(1, b); FLOATS(2, c); FLOATS(3, sink); NUMBER(4, add);
    EACH(i) {
        double of_a, of_both;
        odds_against(a[i], b[i], &of_a, &of_both);
        put(&sink[i], (float)((double)c[i] * (of_a + of_both)), add);
    }
}

DEVICE double exact_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// The mixture's probability of sample b, and of the contrary.
DEVICE void mixture(double scale, const float* gate, const float* x, u32 critics, u32 batch, u32 b, double* p, double* rest) {
    double yes = 0.0, no = 0.0, total = 0.0;
    for (u32 c = 0; c < critics; c++) {
        double weight = gate[b * critics + c], logit = x[c * batch + b];
        yes += scale * weight * exact_sigmoid(logit);
        no += scale * weight * exact_sigmoid(-logit);
        total += scale * weight;
    }
    *p = fmax(yes, 1e-30);
    *rest = fmax(1.0 - total + no, 1e-30);
}

KERNEL(mixture_logits) {
    FLOATS(0, gate); FLOATS(1, x); FLOATS(2, out); REAL(3, scale); NUMBER(4, critics);
    EACH(b) {
        double p, rest;
        mixture(scale, gate, x, critics, n, b, &p, &rest);
        out[b] = (float)(log(p) - log(rest));
    }
}

KERNEL(mixture_logits_back) {
    FLOATS(0, gate); FLOATS(1, x); FLOATS(2, c); FLOATS(3, gate_sink); FLOATS(4, x_sink);
    REAL(5, scale); NUMBER(6, critics); NUMBER(7, add_gate); NUMBER(8, add_x);
    EACH(b) {
        double p, rest;
        mixture(scale, gate, x, critics, n, b, &p, &rest);
        double dp = (double)c[b] * (double)scale * (1.0 / p + 1.0 / rest);
        for (u32 j = 0; j < critics; j++) {
            u32 at = b * critics + j, to = j * n + b;
            double s = exact_sigmoid(x[to]);
            put(&gate_sink[at], (float)(dp * s), add_gate);
            put(&x_sink[to], (float)(dp * (double)gate[at] * s * (1.0 - s)), add_x);
        }
    }
}
