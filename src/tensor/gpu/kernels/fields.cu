// The first layer: rows of embedding tables, and sums of rows by sample or of samples by row.

// out[u] = table[rows[u]]
KERNEL(gather_rows) {
    FLOATS(0, table); INDICES(1, rows); FLOATS(2, out); NUMBER(3, width);
    EACH(i) { out[i] = table[(u64)rows[i / width] * width + i % width]; }
}

// out[e, b, j] = [out] + bias[e, j] + Σ_f table[e, compact(b, f), j], over the fields that go by table
KERNEL(sum_table_rows) {
    FLOATS(0, table); INDICES(1, compact); FLOATS(2, bias); FLOATS(3, out);
    NUMBER(4, cols); NUMBER(5, batch); NUMBER(6, rows); NUMBER(7, tables); NUMBER(8, fields); NUMBER(9, add);
    EACH(i) {
        u32 j = i % cols, b = i / cols % batch, e = i / cols / batch;
        const float* from = table + (u64)e * rows * cols + j;
        const u32* ids = compact + (u64)b * fields;
        float sum = bias[e * cols + j] + (add ? out[i] : 0.0f);
        for (u32 f = 0; f < tables; f++) sum += from[(u64)ids[f] * cols];
        out[i] = sum;
    }
}

// out[b, f, d] = E[compact(b, first + f), d], rows of `stride` values
KERNEL(gather_direct) {
    FLOATS(0, embeddings); INDICES(1, compact); FLOATS(2, out); NUMBER(3, width); NUMBER(4, fields); NUMBER(5, first); NUMBER(6, stride);
    EACH(i) {
        u32 cols = (fields - first) * width, b = i / cols, j = i % cols;
        u32 row = compact[(u64)b * fields + first + j / width];
        out[(u64)b * stride + j] = embeddings[(u64)row * width + j % width];
    }
}

// out[b] = row, rows of `stride` values
KERNEL(spread_row) {
    FLOATS(0, row); FLOATS(1, out); NUMBER(2, width); NUMBER(3, stride);
    EACH(i) { out[(u64)(i / width) * stride + i % width] = row[i % width]; }
}

// Members of compact rows come in pieces of one row each: part[e, piece, j] = Σ x[e, member, at + j], where x has rows of
// `stride` values, in which those of different places lie `apart`
KERNEL(member_parts) {
    FLOATS(0, x); INDICES(1, members); INDICES(2, starts); INDICES(3, places); FLOATS(4, part);
    NUMBER(5, cols); NUMBER(6, batch); NUMBER(7, first); NUMBER(8, pieces); NUMBER(9, stride);
    NUMBER(10, apart);
    EACH(i) {
        u32 j = i % cols, piece = first + i / cols % pieces, e = i / cols / pieces;
        const float* from = x + (u64)e * batch * stride + (u64)places[piece] * apart + j;
        float sum = 0.0f;
        for (u32 m = starts[piece]; m < starts[piece + 1]; m++) sum += from[(u64)members[m] * stride];
        part[i] = sum;
    }
}

// out[e, u, j] (+)= weight·Σ part[e, piece, j], over the pieces of row `first_row + u`
KERNEL(sum_pieces) {
    FLOATS(0, part); INDICES(1, row_pieces); FLOATS(2, out);
    NUMBER(3, cols); NUMBER(4, rows); NUMBER(5, first_row); NUMBER(6, pieces); REAL(7, weight); NUMBER(8, add);
    EACH(i) {
        u32 j = i % cols, u = first_row + i / cols % rows, e = i / cols / rows;
        u32 first = row_pieces[first_row];
        float sum = 0.0f;
        for (u32 piece = row_pieces[u]; piece < row_pieces[u + 1]; piece++) sum += part[((u64)e * pieces + piece - first) * cols + j];
        put(&out[i], weight * sum, add);
    }
}

// out[i] (+)= Σ_e parts[e, i]
KERNEL(sum_groups) {
    FLOATS(0, parts); FLOATS(1, out); NUMBER(2, groups); NUMBER(3, add);
    EACH(i) {
        float sum = 0.0f;
        for (u32 e = 0; e < groups; e++) sum += parts[(u64)e * n + i];
        put(&out[i], sum, add);
    }
}

// out[b] = (token[b] + Σ_f E[id_f])·share
KERNEL(mean_token) {
    FLOATS(0, embeddings); INDICES(1, compact); FLOATS(2, token); FLOATS(3, out);
    NUMBER(4, width); NUMBER(5, fields); NUMBER(6, with_token); REAL(7, share);
    EACH(i) {
        u32 b = i / width, j = i % width;
        float sum = 0.0f;
        for (u32 f = 0; f < fields; f++) sum += embeddings[(u64)compact[(u64)b * fields + f] * width + j];
        if (with_token) sum += token[i];
        out[i] = sum * share;
    }
}

// of[rows[u]] = u
KERNEL(mark_rows) {
    INDICES(0, rows); INDICES(1, of);
    EACH(u) { of[rows[u]] = u; }
}

// of[i] = absent
KERNEL(forget_rows) {
    INDICES(0, of);
    EACH(i) { of[i] = ABSENT; }
}
