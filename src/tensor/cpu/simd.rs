//! One source, several instruction sets: functions compiled for each and chosen at run time.

/// Instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // on other processors than x86-64 only the baseline is ever made
pub(super) enum Isa {
    /// AVX-512.
    V4,
    /// AVX2 and FMA.
    V3,
    /// Whatever the target has at least: SSE2 or NEON.
    Baseline,
}

impl Isa {
    /// The best this processor has; the standard library remembers the answer.
    #[inline]
    pub(super) fn of_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("fma") && has!("bmi1") && has!("bmi2") {
                let v4 =
                    has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
                return if v4 { Self::V4 } else { Self::V3 };
            }
        }
        Self::Baseline
    }
}

/// Compiles a function for each instruction set; calls of it run the best one this processor has. The arithmetic is the
/// same in all of them, to the bit: the compiler neither reorders sums nor contracts products into FMAs by itself.
///
/// What the body calls must be `#[inline(always)]`, or it is compiled for the baseline only. (A closure handed to a
/// dispatching function would not do: a large one is not inlined.)
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn baseline($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                use $crate::tensor::cpu::simd::Isa;

                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2")]
                fn v4($($arg: $ty),*) $(-> $ret)? {
                    baseline($($arg),*)
                }

                #[target_feature(enable = "avx2,fma,bmi1,bmi2")]
                fn v3($($arg: $ty),*) $(-> $ret)? {
                    baseline($($arg),*)
                }

                match Isa::of_processor() {
                    // SAFETY: this processor has these features, as just detected.
                    Isa::V4 => return unsafe { v4($($arg),*) },
                    // SAFETY: as above.
                    Isa::V3 => return unsafe { v3($($arg),*) },
                    Isa::Baseline => {}
                }
            }
            baseline($($arg),*)
        }
    };
}
