// Normalisations, gates and gated units: along rows or columns of activations.

// Means and squared deviations of chunks of rows: part[e, chunk, 0 or 1, j]
KERNEL(norm_parts) {
    FLOATS(0, x); FLOATS(1, part); NUMBER(2, cols); NUMBER(3, batch); NUMBER(4, rows); NUMBER(5, chunks);
    EACH(i) {
        u32 j = i % cols, chunk = i / cols % chunks, group = i / cols / chunks;
        u32 first = chunk * rows, end = least(first + rows, batch);
        const float* at = x + (u64)group * batch * cols + j;
        float mean = 0.0f, squares = 0.0f;
        for (u32 b = first; b < end; b++) mean += at[(u64)b * cols];
        mean /= (float)(end - first);
        for (u32 b = first; b < end; b++) {
            float d = at[(u64)b * cols] - mean;
            squares += d * d;
        }
        float* to = part + (u64)(group * chunks + chunk) * 2 * cols + j;
        to[0] = mean;
        to[cols] = squares;
    }
}

// Means and biased variances of all rows from those of the chunks (Chan, Golub & LeVeque, 1983)
KERNEL(norm_moments) {
    FLOATS(0, part); FLOATS(1, statistics); NUMBER(2, cols); NUMBER(3, batch); NUMBER(4, rows); NUMBER(5, chunks);
    EACH(i) {
        u32 j = i % cols, group = i / cols;
        const float* at = part + (u64)group * chunks * 2 * cols + j;
        double sum = 0.0, squares = 0.0;
        for (u32 chunk = 0; chunk < chunks; chunk++) {
            double count = least((chunk + 1) * rows, batch) - chunk * rows;
            sum += count * (double)at[(u64)chunk * 2 * cols];
        }
        float mean = (float)(sum / batch);
        for (u32 chunk = 0; chunk < chunks; chunk++) {
            double count = least((chunk + 1) * rows, batch) - chunk * rows;
            double d = (double)at[(u64)chunk * 2 * cols] - (double)mean;
            squares += (double)at[(u64)chunk * 2 * cols + cols] + count * d * d;
        }
        statistics[i] = mean;
        statistics[n + i] = (float)(squares / batch);
    }
}

// Normalisation, ReLU and dropout; without dropout the threshold is 0
KERNEL(norm_apply) {
    FLOATS(0, x); FLOATS(1, out); FLOATS(2, mean); FLOATS(3, variance); FLOATS(4, gain); FLOATS(5, shift);
    NUMBER(6, cols); NUMBER(7, per_group); REAL(8, eps);
    NUMBER(9, threshold); REAL(10, keep); NUMBER(11, key0); NUMBER(12, key1);
    EACH(i) {
        u32 c = i / per_group * cols + i % cols;
        float scale = gain[c] / sqrtf(variance[c] + eps);
        float y = fmaxf((x[i] - mean[c]) * scale + shift[c], 0.0f) * keep;
        out[i] = threshold == 0 || element_hash(key0, key1, i) >= threshold ? y : 0.0f;
    }
}

// Sums over the active units of chunks of rows: of the cotangent, and of the cotangent times the centred input
KERNEL(norm_back_parts) {
    FLOATS(0, c); FLOATS(1, out); FLOATS(2, x); FLOATS(3, mean); FLOATS(4, part);
    NUMBER(5, cols); NUMBER(6, batch); NUMBER(7, rows); NUMBER(8, chunks);
    EACH(i) {
        u32 j = i % cols, chunk = i / cols % chunks, group = i / cols / chunks;
        u32 end = least((chunk + 1) * rows, batch);
        u64 base = (u64)group * batch * cols + j;
        float centre = mean[group * cols + j], shift = 0.0f, gain = 0.0f;
        for (u32 b = chunk * rows; b < end; b++) {
            u64 at = base + (u64)b * cols;
            float g = out[at] > 0.0f ? c[at] : 0.0f;
            shift += g;
            gain += g * (x[at] - centre);
        }
        float* to = part + (u64)(group * chunks + chunk) * 2 * cols + j;
        to[0] = shift;
        to[cols] = gain;
    }
}

// Gradients of gain and shift, and the pull-back's coefficients: scale, offset and slope of each column
KERNEL(norm_back_sums) {
    FLOATS(0, part); FLOATS(1, gain); FLOATS(2, variance); FLOATS(3, gain_sink); FLOATS(4, shift_sink); FLOATS(5, coefficients);
    NUMBER(6, cols); NUMBER(7, batch); NUMBER(8, chunks); REAL(9, eps); REAL(10, keep); NUMBER(11, add_gain); NUMBER(12, add_shift);
    EACH(i) {
        u32 j = i % cols, group = i / cols;
        const float* at = part + (u64)group * chunks * 2 * cols + j;
        double shift = 0.0, slope = 0.0;
        for (u32 chunk = 0; chunk < chunks; chunk++) {
            shift += (double)at[(u64)chunk * 2 * cols];
            slope += (double)at[(u64)chunk * 2 * cols + cols];
        }
        float shift_mean = (float)(shift / batch), gain_mean = (float)(slope / batch);
        float inverse = 1.0f / sqrtf(variance[i] + eps), rows = (float)batch * keep;
        put(&gain_sink[i], gain_mean * inverse * rows, add_gain);
        put(&shift_sink[i], shift_mean * rows, add_shift);
        coefficients[i] = gain[i] * inverse * keep;
        coefficients[n + i] = shift_mean;
        coefficients[2 * n + i] = gain_mean * inverse * inverse;
    }
}

// c ← scale·(g − offset − (x − mean)·slope), g being c where the unit is active
KERNEL(norm_back) {
    FLOATS(0, c); FLOATS(1, out); FLOATS(2, x); FLOATS(3, mean); FLOATS(4, coefficients);
    NUMBER(5, cols); NUMBER(6, per_group); NUMBER(7, columns);
    EACH(i) {
        u32 k = i / per_group * cols + i % cols;
        float g = out[i] > 0.0f ? c[i] : 0.0f;
        c[i] = coefficients[k] * (g - coefficients[columns + k] - (x[i] - mean[k]) * coefficients[2 * columns + k]);
    }
}

KERNEL(move_statistics) {
    FLOATS(0, statistics); FLOATS(1, mean); FLOATS(2, variance); REAL(3, momentum); REAL(4, unbiased);
    EACH(i) {
        mean[i] += momentum * (statistics[i] - mean[i]);
        variance[i] += momentum * (unbiased * statistics[n + i] - variance[i]);
    }
}

KERNEL(softmax) {
    FLOATS(0, x); FLOATS(1, out); NUMBER(2, cols);
    EACH(b) {
        const float* from = x + (u64)b * cols;
        float* to = out + (u64)b * cols;
        float most = from[0], sum = 0.0f;
        for (u32 j = 1; j < cols; j++) most = fmaxf(most, from[j]);
        for (u32 j = 0; j < cols; j++) {
            float e = expf(from[j] - most);
            to[j] = e;
            sum += e;
        }
        for (u32 j = 0; j < cols; j++) to[j] /= sum;
    }
}

KERNEL(softmax_back) {
    FLOATS(0, out); FLOATS(1, cotangent); NUMBER(2, cols);
    EACH(b) {
        const float* s = out + (u64)b * cols;
        float* c = cotangent + (u64)b * cols;
        float inner = 0.0f;
        for (u32 j = 0; j < cols; j++) inner += s[j] * c[j];
        for (u32 j = 0; j < cols; j++) c[j] = s[j] * (c[j] - inner);
    }
}

// out[b, j] (+)= Σ_e gate[b, e]·x[e, b, j]
KERNEL(mix) {
    FLOATS(0, gate); FLOATS(1, x); FLOATS(2, out);
    NUMBER(3, cols); NUMBER(4, batch); NUMBER(5, first_expert); NUMBER(6, experts); NUMBER(7, gates); NUMBER(8, first_gate); NUMBER(9, add);
    EACH(i) {
        u32 b = i / cols;
        float sum = add ? out[i] : 0.0f;
        for (u32 e = 0; e < experts; e++) sum += gate[b * gates + first_gate + e] * x[(u64)(first_expert + e) * batch * cols + i];
        out[i] = sum;
    }
}

// Inner products of rows in `parts` pieces each: part[row, piece], row = e·B + b, for `x[first + e, b]·c[b]`
KERNEL(mix_back_parts) {
    FLOATS(0, c); FLOATS(1, x); FLOATS(2, part); NUMBER(3, cols); NUMBER(4, batch); NUMBER(5, first_expert); NUMBER(6, parts);
    EACH(i) {
        u32 row = i / parts, piece = i % parts, b = row % batch;
        const float* xs = x + (u64)(first_expert * batch + row) * cols;
        const float* cs = c + (u64)b * cols;
        float sum = 0.0f;
        for (u32 j = piece; j < cols; j += parts) sum += cs[j] * xs[j];
        part[i] = sum;
    }
}

KERNEL(mix_back_gate) {
    FLOATS(0, part); FLOATS(1, gate); NUMBER(2, batch); NUMBER(3, parts); NUMBER(4, gates); NUMBER(5, first_gate); NUMBER(6, add);
    EACH(i) {
        u32 e = i / batch, b = i % batch;
        float sum = 0.0f;
        for (u32 piece = 0; piece < parts; piece++) sum += part[i * parts + piece];
        put(&gate[b * gates + first_gate + e], sum, add);
    }
}

KERNEL(mix_back_bank) {
    FLOATS(0, gate); FLOATS(1, c); FLOATS(2, x);
    NUMBER(3, cols); NUMBER(4, batch); NUMBER(5, first_expert); NUMBER(6, gates); NUMBER(7, first_gate); NUMBER(8, add);
    EACH(i) {
        u32 e = i / (batch * cols), at = i % (batch * cols), b = at / cols;
        put(&x[(u64)first_expert * batch * cols + i], gate[b * gates + first_gate + e] * c[at], add);
    }
}

// out[b, e] = factor·⟨x[e, b], y[e, b]⟩
KERNEL(row_dots) {
    FLOATS(0, x); FLOATS(1, y); FLOATS(2, out); NUMBER(3, cols); NUMBER(4, batch); NUMBER(5, groups); REAL(6, factor);
    EACH(i) {
        const float *xs = x + (u64)i * cols, *ys = y + (u64)i * cols;
        float sum = 0.0f;
        for (u32 j = 0; j < cols; j++) sum += xs[j] * ys[j];
        out[i % batch * groups + i / batch] = factor * sum;
    }
}

KERNEL(row_dots_back) {
    FLOATS(0, c); FLOATS(1, y); FLOATS(2, x); NUMBER(3, cols); NUMBER(4, batch); NUMBER(5, groups); REAL(6, factor); NUMBER(7, add);
    EACH(i) {
        u32 row = i / cols;
        put(&x[i], factor * c[row % batch * groups + row / batch] * y[i], add);
    }
}

// One over the root mean square of each row
KERNEL(rms_inverse) {
    FLOATS(0, x); FLOATS(1, out); NUMBER(2, cols); REAL(3, eps);
    EACH(b) {
        const float* xs = x + (u64)b * cols;
        float sum = 0.0f;
        for (u32 j = 0; j < cols; j++) sum += xs[j] * xs[j];
        out[b] = 1.0f / sqrtf(sum / (float)cols + eps);
    }
}

KERNEL(rms_apply) {
    FLOATS(0, x); FLOATS(1, inverse); FLOATS(2, gain); FLOATS(3, out); NUMBER(4, cols);
    EACH(i) { out[i] = x[i] * inverse[i / cols] * gain[i % cols]; }
}

// What each row adds to its own pull-back, r²·mean(x·γ·c)
KERNEL(rms_slopes) {
    FLOATS(0, x); FLOATS(1, inverse); FLOATS(2, gain); FLOATS(3, c); FLOATS(4, out); NUMBER(5, cols);
    EACH(b) {
        const float *xs = x + (u64)b * cols, *cs = c + (u64)b * cols;
        float sum = 0.0f;
        for (u32 j = 0; j < cols; j++) sum += xs[j] * gain[j] * cs[j];
        out[b] = inverse[b] * inverse[b] * (sum / (float)cols);
    }
}

// c ← r·(γ·c − x·slope); `terms` receives what the gain's gradient sums
KERNEL(rms_back) {
    FLOATS(0, x); FLOATS(1, inverse); FLOATS(2, gain); FLOATS(3, slopes); FLOATS(4, c); FLOATS(5, terms); NUMBER(6, cols);
    EACH(i) {
        u32 b = i / cols;
        terms[i] = c[i] * (x[i] * inverse[b]);
        c[i] = inverse[b] * (gain[i % cols] * c[i] - x[i] * slopes[b]);
    }
}

KERNEL(swiglu) {
    FLOATS(0, x); FLOATS(1, out); NUMBER(2, cols);
    EACH(i) {
        const float* row = x + (u64)(i / cols) * 2 * cols + i % cols;
        float g = row[0];
        out[i] = g * sigmoid(g) * row[cols];
    }
}

KERNEL(swiglu_back) {
    FLOATS(0, x); FLOATS(1, c); FLOATS(2, sink); NUMBER(3, cols); NUMBER(4, add);
    EACH(i) {
        u64 at = (u64)(i / cols) * 2 * cols + i % cols;
        float g = x[at], u = x[at + cols], s = sigmoid(g);
        put(&sink[at], c[i] * (u * s * (1.0f + g * (1.0f - s))), add);
        put(&sink[at + cols], c[i] * (g * s), add);
    }
}
