// What all kernels share. Every kernel is one-dimensional: thread i of n does what index i stands for, reads and writes
// global memory only, and waits for nobody. Sums are cut into parts of a fixed order (no atomics), so results repeat to
// the bit on the same GPU; and the same source, compiled as C++ with a loop in the place of the threads, runs in the tests
// of machines without a GPU.

typedef unsigned int u32;
typedef unsigned long long u64;

// Arguments: addresses, whole numbers and the bits of f32 values, in the order in which the kernel names them.
struct Arguments {
    u64 slot[40];
};

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define DEVICE static __device__ __forceinline__
#define KERNEL(name) extern "C" __global__ void name(u32 n, Arguments arguments)
#define EACH(i)                                                                                                        \
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x, done = i < n ? 0 : 1; !done; done = 1)
#else
#include <cmath>
#include <cstring>
#define DEVICE static inline
#define KERNEL(name) extern "C" void name(u32 n, Arguments arguments)
#define EACH(i) for (u32 i = 0; i < n; i++)
static inline float __uint_as_float(u32 bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
#endif

#define FLOATS(at, name) float* name = (float*)arguments.slot[at]
#define DOUBLES(at, name) double* name = (double*)arguments.slot[at]
#define INDICES(at, name) u32* name = (u32*)arguments.slot[at]
#define NUMBER(at, name) u32 name = (u32)arguments.slot[at]
#define REAL(at, name) float name = __uint_as_float((u32)arguments.slot[at])

#define ABSENT 0xFFFFFFFFu
// −∞
#define LEAST __uint_as_float(0xFF800000u)

// Overwrites, or adds to what is there.
DEVICE void put(float* sink, float value, u32 add) { *sink = add ? *sink + value : value; }

DEVICE u32 least(u32 a, u32 b) { return a < b ? a : b; }

DEVICE float sigmoid(float z) {
    float e = expf(-fabsf(z));
    return z >= 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e);
}

// `element_hash` of tensor/random.rs.
DEVICE u32 element_hash(u32 key0, u32 key1, u32 index) {
    u32 x = index * 0x9E3779B9u ^ key0;
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ key1 ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}
