//! A GPU that is none: the kernels' source compiled as C++, each a loop over its threads. It shows that the kernels, and
//! what they are told, are right; not how they get on with real hardware.

use std::cell::{Cell, RefCell};
use std::process::Command;
use std::rc::Rc;
use std::sync::OnceLock;

use libloading::{Library, Symbol};

use super::blas::{Call, Factor};
use super::steps::Kept;
use super::{ARGUMENTS, Gpu, SOURCE, Word};
use crate::tensor::{Fault, Product};

/// The compiled kernels; nothing where there is no C++ compiler.
static KERNELS: OnceLock<Option<Library>> = OnceLock::new();

/// `Arguments` of the kernels.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments([u64; ARGUMENTS]);

/// A device whose kernels run here.
#[derive(Clone)]
pub(crate) struct Emulated {
    kept: Rc<RefCell<Kept<Self>>>,
    /// Launches until a pretended fault, and what it says.
    left: Rc<Cell<u64>>,
}

impl Emulated {
    /// The device, or nothing (and a word about it) where the kernels cannot be compiled.
    pub fn open() -> Option<Self> {
        if KERNELS.get_or_init(compile).is_none() {
            eprintln!("skipped: no C++ compiler to run the GPU's kernels without a GPU");
            return None;
        }
        Some(Self { kept: Rc::default(), left: Rc::new(Cell::new(u64::MAX)) })
    }

    /// Fails at the launch after so many.
    pub fn fail_after(&self, launches: u64) {
        self.left.set(launches);
    }
}

fn compile() -> Option<Library> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, library) = (folder.path().join("kernels.cpp"), folder.path().join("kernels.so"));
    std::fs::write(&source, SOURCE).expect("a temporary file");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let flags = ["-O2", "-shared", "-fPIC", "-ffp-contract=off", "-Wall", "-Werror", "-Wno-unused-function"];
    let output = Command::new(compiler).args(flags).arg(&source).arg("-o").arg(&library).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // SAFETY: the library has no initialisers.
    Some(unsafe { Library::new(&library) }.expect("what was just compiled"))
}

impl Gpu for Emulated {
    type Memory<T: Word> = Vec<T>;

    fn allocate<T: Word>(&self, len: usize) -> Vec<T> {
        // stale memory, as on a real device: whoever reads what was not written is found out
        let mut stale = vec![T::default(); len];
        bytemuck::cast_slice_mut::<T, u8>(&mut stale).fill(0x7F);
        stale
    }

    fn send<T: Word>(&self, words: &[T], to: &mut Vec<T>, at: usize) {
        to[at..at + words.len()].copy_from_slice(words);
    }

    fn fetch<T: Word>(&self, from: &Vec<T>) -> Vec<T> {
        if self.left.get() == 0 { vec![T::default(); from.len()] } else { from.clone() }
    }

    fn address<T: Word>(memory: &Vec<T>) -> u64 {
        if memory.is_empty() { 0 } else { memory.as_ptr() as u64 }
    }

    fn length<T: Word>(memory: &Vec<T>) -> usize {
        memory.len()
    }

    unsafe fn launch(&self, kernel: &'static str, threads: u32, arguments: &[u64]) {
        if self.left.get() == 0 {
            return;
        }
        self.left.set(self.left.get() - 1);
        let mut all = Arguments([0; ARGUMENTS]);
        all.0[..arguments.len()].copy_from_slice(arguments);
        let library = KERNELS.get().and_then(Option::as_ref).expect("an open device");
        // SAFETY: every kernel has this signature; the caller vouches for the addresses.
        unsafe {
            let kernel: Symbol<unsafe extern "C" fn(u32, Arguments)> =
                library.get(kernel.as_bytes()).unwrap_or_else(|_| panic!("no kernel `{kernel}`"));
            kernel(threads, all);
        }
    }

    unsafe fn multiply(&self, p: &Product, a: u64, b: u64, c: u64) {
        if self.left.get() == 0 {
            return;
        }
        let call = Call::of(p);
        call.check();
        let (first, second, result) = (b as *const f32, a as *const f32, c as *mut f32);
        let element = |factor: Factor, e: usize, row: usize, col: usize| {
            let (row, col) = if factor.transposed { (col, row) } else { (row, col) };
            factor.offset + e * factor.stride + row + col * factor.leading
        };
        for e in 0..call.batch {
            for j in 0..call.n {
                for i in 0..call.m {
                    // SAFETY: by the caller's promise.
                    unsafe {
                        let term = |k: usize| {
                            *first.add(element(call.first, e, i, k)) * *second.add(element(call.second, e, k, j))
                        };
                        let sum = (0..call.k).map(|k| f64::from(term(k))).sum::<f64>() as f32;
                        let to = result.add(element(call.result, e, i, j));
                        *to = if p.accumulate { *to + sum } else { sum };
                    }
                }
            }
        }
    }

    fn kept(&self) -> &RefCell<Kept<Self>> {
        &self.kept
    }

    fn fault(&self) -> Option<Fault> {
        (self.left.get() == 0).then(|| Fault { message: "a pretended fault".into(), hint: None })
    }
}
