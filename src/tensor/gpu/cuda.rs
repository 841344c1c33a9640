//! NVIDIA GPUs, through the driver, NVRTC and cuBLAS that are found when the program runs.
//!
//! dfdx has a CUDA device of its own, but its buffers cannot be reached from outside, its operations would be many
//! launches where one does, its sums are atomic and so do not repeat, and it is linked against a driver that a cluster's
//! login node does not have. What is left of it here are the shapes, which know no device.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::cublas::{CudaBlas, result as cublas, sys as cublas_sys};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaModule, CudaStream, DriverError, result as driver, sys,
};
use cudarc::nvrtc::{self, CompileError, CompileOptions, Ptx};

use super::blas::{Call, Factor};
use super::steps::Kept;
use super::{ARGUMENTS, Gpu, SOURCE, Word};
use crate::readable::bytes;
use crate::tensor::{Fault, Product};

/// Threads of a block.
const BLOCK: u32 = 256;
/// Memory is kept for the next one who asks for as many bytes, in steps of this.
const GRAIN: usize = 512;

/// A GPU, from one thread.
#[derive(Clone)]
pub struct Cuda(Rc<Inner>);

struct Inner {
    // dropped in this order: what lies in the pool before the stream and the context
    kept: RefCell<Kept<Cuda>>,
    functions: RefCell<HashMap<&'static str, CudaFunction>>,
    module: Arc<CudaModule>,
    blas: CudaBlas,
    ahead: RefCell<Ahead>,
    pool: Rc<Pool>,
}

/// Copies beside the work, on a stream of their own.
///
/// They write memory that was taken from the pool when they began: whatever the work still did with it had been asked for
/// by then, so the copies wait for that. The work waits for them in turn when they are to be used.
struct Ahead {
    stream: Arc<CudaStream>,
    /// The work that had been asked for when the copies began.
    begun: CudaEvent,
    /// The copies.
    done: CudaEvent,
    /// Whether what is sent now goes this way.
    now: bool,
    /// Pages that a copy engine can read while the program goes on; the first `used` hold what is on its way.
    pages: Vec<Pages>,
    used: usize,
}

/// Pinned memory of the host.
struct Pages {
    start: *mut c_void,
    len: usize,
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: it came from `malloc_host`, and `Ahead` waits for its copies before it ends.
        let _ = unsafe { driver::free_host(self.start) };
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let _ = self.stream.synchronize();
    }
}

impl Ahead {
    fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        let (begun, done) = (context.new_event(None)?, context.new_event(None)?);
        Ok(Self { stream: context.new_stream()?, begun, done, now: false, pages: Vec::new(), used: 0 })
    }

    fn begin(&mut self, work: &CudaStream) -> Result<(), DriverError> {
        // the pages are about to be written again
        self.done.synchronize()?;
        self.used = 0;
        self.begun.record(work)?;
        self.stream.wait(&self.begun)?;
        self.now = true;
        Ok(())
    }

    fn end(&mut self) -> Result<(), DriverError> {
        self.now = false;
        self.done.record(&self.stream)
    }

    /// Copies words to an address by way of pages.
    fn send<T: Word>(&mut self, words: &[T], address: u64) -> Result<(), DriverError> {
        let bytes: &[u8] = bytemuck::cast_slice(words);
        let fits = self.pages[self.used..].iter().position(|pages| pages.len >= bytes.len());
        let at = match fits {
            Some(at) => self.used + at,
            None => {
                let len = bytes.len().next_power_of_two();
                // SAFETY: the pages are written before they are read, and freed once, by their owner.
                self.pages.push(Pages { start: unsafe { driver::malloc_host(len, 0) }?, len });
                self.pages.len() - 1
            }
        };
        self.pages.swap(self.used, at);
        let pages = &self.pages[self.used];
        self.used += 1;
        // SAFETY: the pages hold as many bytes and nobody else's; they are not written again before the copy has been
        // waited for, and the address is that of as many words.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), pages.start.cast(), bytes.len());
            let bytes = std::slice::from_raw_parts(pages.start.cast::<u8>(), bytes.len());
            driver::memcpy_htod_async(address, bytes, self.stream.cu_stream())
        }
    }
}

/// The GPU's memory, and whether all is well.
struct Pool {
    /// Addresses by bytes.
    free: RefCell<HashMap<usize, Vec<u64>>>,
    fault: RefCell<Option<Fault>>,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

/// Words in the GPU's memory.
pub struct Memory<T> {
    pool: Rc<Pool>,
    address: u64,
    len: usize,
    words: PhantomData<T>,
}

/// `arguments` of the kernels.
#[repr(C)]
struct Arguments([u64; ARGUMENTS]);

impl Cuda {
    /// The GPU of this number.
    ///
    /// # Errors
    /// When there is no driver, no such GPU, no NVRTC or cuBLAS, or when NVRTC does not know this GPU.
    pub fn open(number: usize) -> Result<Self, Fault> {
        // SAFETY: this opens libraries by name, whose initialisers are NVIDIA's.
        let (driver, nvrtc, cublas) =
            unsafe { (sys::is_culib_present(), nvrtc::sys::is_culib_present(), cublas_sys::is_culib_present()) };
        if !driver {
            return Err(fault("there is no NVIDIA driver here (libcuda)", Some(CPU_HINT)));
        }
        for (there, name) in [(nvrtc, "NVRTC (libnvrtc)"), (cublas, "cuBLAS (libcublas)")] {
            if !there {
                return Err(fault(&format!("{name} of CUDA 12 or 13 is not to be found"), Some(TOOLKIT_HINT)));
            }
        }
        let count = driver::init()
            .and_then(|()| CudaContext::device_count())
            .map_err(|error| fault(&format!("the NVIDIA driver does not answer: {}", said(&error)), Some(CPU_HINT)))?;
        if number >= usize::try_from(count).unwrap_or(0) {
            let message = format!("there is no GPU {number}: the driver knows of {count}");
            return Err(fault(&message, Some("`nvidia-smi -L` lists them; CUDA_VISIBLE_DEVICES hides some")));
        }
        let context = CudaContext::new(number).map_err(|e| opening(number, &e))?;
        let stream = context.new_stream().map_err(|e| opening(number, &e))?;
        let module = compiled(&context)?;
        let blas = CudaBlas::new(stream.clone())
            .map_err(|error| fault(&format!("cuBLAS does not start: {error:?}"), Some(TOOLKIT_HINT)))?;
        let ahead = Ahead::new(&context).map_err(|e| opening(number, &e))?;
        let pool = Pool { free: RefCell::default(), fault: RefCell::default(), stream, context };
        Ok(Self(Rc::new(Inner {
            kept: RefCell::default(),
            functions: RefCell::default(),
            module,
            blas,
            ahead: RefCell::new(ahead),
            pool: Rc::new(pool),
        })))
    }

    fn function(&self, name: &'static str) -> Result<sys::CUfunction, DriverError> {
        let mut functions = self.0.functions.borrow_mut();
        if let Some(function) = functions.get(name) {
            return Ok(function.cu_function());
        }
        let function = self.0.module.load_function(name)?;
        Ok(functions.entry(name).or_insert(function).cu_function())
    }
}

const CPU_HINT: &str = "leave `--device` out to compute on the processor";
const TOOLKIT_HINT: &str = "install the CUDA toolkit, or put the folder of its libraries into LD_LIBRARY_PATH (with Python's packages: nvidia/cu13/lib or nvidia/*/lib)";

fn fault(message: &str, hint: Option<&str>) -> Fault {
    Fault { message: message.to_owned(), hint: hint.map(str::to_owned) }
}

/// A driver's error in its own words.
fn said(error: &DriverError) -> String {
    let words = error.error_string().map(|words| words.to_string_lossy().into_owned());
    words.unwrap_or_else(|_| format!("{error:?}"))
}

fn opening(number: usize, error: &DriverError) -> Fault {
    let hint = match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => "another program holds the GPU's memory: see `nvidia-smi`",
        _ => CPU_HINT,
    };
    fault(&format!("cannot open GPU {number}: {}", said(error)), Some(hint))
}

/// The kernels, compiled for this GPU: once a process, for its stages open the GPU one after the other.
fn compiled(context: &Arc<CudaContext>) -> Result<Arc<CudaModule>, Fault> {
    static LAST: Mutex<Option<((i32, i32), Ptx)>> = Mutex::new(None);
    let capability = context.compute_capability().map_err(|e| opening(context.ordinal(), &e))?;
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let program = match last.as_ref().filter(|(of, _)| *of == capability) {
        Some((_, program)) => program.clone(),
        None => last.insert((capability, compiled_for(capability)?)).1.clone(),
    };
    context.load_module(program).map_err(|error| {
        let message = format!("the driver cannot load the kernels: {}", said(&error));
        fault(&message, Some("a driver older than NVRTC does not know its output: update the driver"))
    })
}

fn compiled_for((major, minor): (i32, i32)) -> Result<Ptx, Fault> {
    compile(&format!("compute_{major}{minor}")).map_err(|error| {
        let message = match &error {
            CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
            other => format!("{other:?}"),
        };
        fault(
            &format!("NVRTC cannot compile the kernels for compute capability {major}.{minor}: {}", message.trim()),
            Some("CUDA 13 knows capabilities from 7.5 on, and each version those of its time: another CUDA may do"),
        )
    })
}

/// The kernels for an architecture.
pub(super) fn compile(architecture: &str) -> Result<Ptx, CompileError> {
    let options = CompileOptions {
        options: vec![format!("--gpu-architecture={architecture}"), "--std=c++17".into()],
        name: Some("mtorec.cu".into()),
        ..CompileOptions::default()
    };
    nvrtc::compile_ptx_with_opts(SOURCE, options)
}

impl Pool {
    fn ok(&self) -> bool {
        self.fault.borrow().is_none()
    }

    /// Keeps the first thing that went wrong.
    fn note(&self, result: Result<(), String>) {
        if let Err(message) = result {
            self.fault.borrow_mut().get_or_insert(fault(&message, None));
        }
    }

    /// Bytes of this many, or 0 after a fault.
    fn take(&self, len: usize) -> u64 {
        let len = len.next_multiple_of(GRAIN);
        if len == 0 || !self.ok() {
            return 0;
        }
        if let Some(address) = self.free.borrow_mut().get_mut(&len).and_then(Vec::pop) {
            return address;
        }
        // SAFETY: the context is bound to this thread, and the address is used with this length only.
        let fresh = || unsafe { driver::malloc_sync(len) };
        let outcome = fresh().or_else(|error| {
            if error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return Err(error);
            }
            self.drain();
            fresh()
        });
        outcome.unwrap_or_else(|error| {
            let fault = match (error.0, driver::mem_get_info()) {
                (sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY, Ok((free, total))) => Fault {
                    message: format!(
                        "the GPU has no room for another {}: {} of {} are free",
                        bytes(len as u64),
                        bytes(free as u64),
                        bytes(total as u64)
                    ),
                    hint: Some("a smaller `batch` needs less, and so do smaller `sizes`".into()),
                },
                _ => fault(&format!("the GPU gives no memory: {}", said(&error)), None),
            };
            self.fault.borrow_mut().get_or_insert(fault);
            0
        })
    }

    fn give(&self, address: u64, len: usize) {
        let len = len.next_multiple_of(GRAIN);
        if address != 0 {
            self.free.borrow_mut().entry(len).or_default().push(address);
        }
    }

    /// Gives all that lies idle back to the driver.
    fn drain(&self) {
        let _ = self.stream.synchronize();
        for address in self.free.borrow_mut().drain().flat_map(|(_, addresses)| addresses) {
            // SAFETY: it came from `malloc_sync`, and nobody uses it: it lay in the pool, and the stream has come to rest.
            let _ = unsafe { driver::free_sync(address) };
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            self.drain();
        }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // the stream works in order: whoever gets this memory next writes after the work that still reads it
        self.pool.give(self.address, self.len * size_of::<T>());
    }
}

impl<T: Word> Clone for Memory<T> {
    fn clone(&self) -> Self {
        let (pool, bytes) = (&self.pool, self.len * size_of::<T>());
        let address = pool.take(bytes);
        if pool.ok() && bytes > 0 {
            // SAFETY: both hold as many bytes.
            let copied = unsafe { driver::memcpy_dtod_async(address, self.address, bytes, pool.stream.cu_stream()) };
            pool.note(copied.map_err(|error| format!("cannot copy on the GPU: {}", said(&error))));
        }
        Self { pool: Rc::clone(pool), address, len: self.len, words: PhantomData }
    }
}

impl Gpu for Cuda {
    type Memory<T: Word> = Memory<T>;

    fn allocate<T: Word>(&self, len: usize) -> Memory<T> {
        let pool = &self.0.pool;
        Memory { pool: Rc::clone(pool), address: pool.take(len * size_of::<T>()), len, words: PhantomData }
    }

    fn send<T: Word>(&self, words: &[T], to: &mut Memory<T>, at: usize) {
        assert!(at + words.len() <= to.len, "the words fit");
        let pool = &self.0.pool;
        if words.is_empty() || !pool.ok() {
            return;
        }
        let address = to.address + (at * size_of::<T>()) as u64;
        let mut ahead = self.0.ahead.borrow_mut();
        if ahead.now {
            return pool
                .note(ahead.send(words, address).map_err(|error| format!("cannot copy to the GPU: {}", said(&error))));
        }
        // SAFETY: the place is there (just checked), and pageable words are copied aside before the call returns.
        let sent = unsafe { driver::memcpy_htod_async(address, words, pool.stream.cu_stream()) };
        pool.note(sent.map_err(|error| format!("cannot copy to the GPU: {}", said(&error))));
    }

    fn send_ahead(&self) {
        let pool = &self.0.pool;
        if pool.ok() {
            let begun = self.0.ahead.borrow_mut().begin(&pool.stream);
            pool.note(begun.map_err(|error| format!("the GPU has failed: {}", said(&error))));
        }
    }

    fn sent_ahead(&self) {
        let ended = self.0.ahead.borrow_mut().end();
        self.0.pool.note(ended.map_err(|error| format!("the GPU has failed: {}", said(&error))));
    }

    fn arrive(&self) {
        let pool = &self.0.pool;
        if pool.ok() {
            let waits = pool.stream.wait(&self.0.ahead.borrow().done);
            pool.note(waits.map_err(|error| format!("the GPU has failed: {}", said(&error))));
        }
    }

    fn fetch<T: Word>(&self, from: &Memory<T>) -> Vec<T> {
        let mut words = vec![T::default(); from.len];
        let pool = &self.0.pool;
        if !words.is_empty() && pool.ok() {
            // SAFETY: as many words lie there, and they are looked at only after the stream has come to rest.
            let fetched = unsafe { driver::memcpy_dtoh_async(&mut words, from.address, pool.stream.cu_stream()) };
            let fetched = fetched.and_then(|()| pool.stream.synchronize());
            pool.note(fetched.map_err(|error| format!("the GPU has failed: {}", said(&error))));
            if !pool.ok() {
                words.fill(T::default());
            }
        }
        words
    }

    fn address<T: Word>(memory: &Memory<T>) -> u64 {
        memory.address
    }

    fn length<T: Word>(memory: &Memory<T>) -> usize {
        memory.len
    }

    unsafe fn launch(&self, kernel: &'static str, threads: u32, arguments: &[u64]) {
        let pool = &self.0.pool;
        if !pool.ok() {
            return;
        }
        let mut threads = threads;
        let mut all = Arguments([0; ARGUMENTS]);
        all.0[..arguments.len()].copy_from_slice(arguments);
        let mut parameters = [(&raw mut threads).cast::<c_void>(), (&raw mut all).cast::<c_void>()];
        let launched = self.function(kernel).and_then(|function| {
            // SAFETY: every kernel takes these two parameters; the caller vouches for the addresses among them.
            unsafe {
                let grid = (threads.div_ceil(BLOCK), 1, 1);
                driver::launch_kernel(function, grid, (BLOCK, 1, 1), 0, pool.stream.cu_stream(), &mut parameters)
            }
        });
        pool.note(launched.map_err(|error| format!("cannot launch `{kernel}`: {}", said(&error))));
    }

    unsafe fn multiply(&self, product: &Product, a: u64, b: u64, c: u64) {
        let pool = &self.0.pool;
        if !pool.ok() {
            return;
        }
        let call = Call::of(product);
        let int = |n: usize| i32::try_from(n).expect("cuBLAS counts to 2^31");
        let operation = |factor: Factor| match factor.transposed {
            false => cublas_sys::cublasOperation_t::CUBLAS_OP_N,
            true => cublas_sys::cublasOperation_t::CUBLAS_OP_T,
        };
        let place = |address: u64, factor: Factor| (address + 4 * factor.offset as u64) as *const f32;
        let (one, beta) = (1.0f32, if product.accumulate { 1.0f32 } else { 0.0 });
        // SAFETY: the caller vouches for the matrices; the scalars are on the host, as the handle expects them.
        let multiplied = unsafe {
            cublas::sgemm_strided_batched(
                *self.0.blas.handle(),
                operation(call.first),
                operation(call.second),
                int(call.m),
                int(call.n),
                int(call.k),
                &raw const one,
                place(b, call.first),
                int(call.first.leading),
                call.first.stride as i64,
                place(a, call.second),
                int(call.second.leading),
                call.second.stride as i64,
                &raw const beta,
                place(c, call.result).cast_mut(),
                int(call.result.leading),
                call.result.stride as i64,
                int(call.batch),
            )
        };
        pool.note(multiplied.map_err(|error| format!("cuBLAS has failed: {error:?}")));
    }

    fn kept(&self) -> &RefCell<Kept<Self>> {
        &self.0.kept
    }

    fn fault(&self) -> Option<Fault> {
        self.0.pool.fault.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvrtc_compiles_every_kernel() {
        // SAFETY: as in `Cuda::open`.
        if !unsafe { nvrtc::sys::is_culib_present() } {
            eprintln!("skipped: NVRTC is not to be found");
            return;
        }
        for architecture in ["compute_75", "compute_90"] {
            let program = compile(architecture).unwrap_or_else(|error| panic!("{architecture}: {error:?}")).to_src();
            let kernels = SOURCE.lines().filter(|line| line.starts_with("KERNEL(")).count();
            assert_eq!(program.matches(".entry").count(), kernels, "{architecture}");
        }
    }
}
