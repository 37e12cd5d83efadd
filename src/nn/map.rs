//! Activation maps, in candle tensors that are used again and again.

use super::lanes::BLOCK;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result};
use candle_core::{Storage, Tensor, bail};

/// Height, width, channels.
pub type Shape = (usize, usize, usize);

/// One activation map of one picture: planes `[⌈channels / 16⌉, height, width, 16]`, channels beyond
/// the last are zeros. Written by operators in place; its memory grows to the largest map that it
/// has held and is not given back, so that a forward pass of known shapes allocates nothing.
pub struct Map {
    /// One dimension; the map is its beginning.
    values: Tensor,
    /// Its first value, through which operators reach the memory: candle lists the axes of what is
    /// written in place on the heap each time, and a single value has none.
    handle: Tensor,
    shape: Shape,
}

impl Map {
    /// A map without pixels.
    pub fn new() -> Result<Self> {
        let values = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        Ok(Self { handle: values.clone(), values, shape: (0, 0, 0) })
    }

    /// Height, width, channels.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Blocks of sixteen channels.
    pub(super) fn blocks(&self) -> usize {
        self.shape.2.div_ceil(BLOCK)
    }

    pub(super) fn len(&self) -> usize {
        self.shape.0 * self.shape.1 * self.blocks() * BLOCK
    }

    /// Takes a shape, and memory for it where it has too little.
    fn shaped(&mut self, shape: Shape) -> Result<usize> {
        self.shape = shape;
        let len = self.len();
        if self.values.elem_count() < len {
            self.values = Tensor::zeros(len, DType::F32, &Device::Cpu)?;
            self.handle = self.values.narrow(0, 0, 1)?;
        }
        Ok(len)
    }

    /// The map becomes what `fill` writes; every value is to be written.
    pub(super) fn fill(&mut self, shape: Shape, fill: impl Fn(&mut [f32])) -> Result<()> {
        let len = self.shaped(shape)?;
        self.handle.inplace_op1(&Fill(|y: &mut [f32]| fill(&mut y[..len])))
    }

    /// The map becomes what `fill` makes of `x`; every value is to be written.
    pub(super) fn fill_from(
        &mut self,
        shape: Shape,
        x: &Self,
        fill: impl Fn(&mut [f32], &[f32]),
    ) -> Result<()> {
        self.shaped(shape)?;
        self.update_by(x, fill)
    }

    /// The map becomes what `fill` makes of `a` and `b`; every value is to be written.
    pub(super) fn fill_from_two(
        &mut self,
        shape: Shape,
        (a, b): (&Self, &Self),
        fill: impl Fn(&mut [f32], &[f32], &[f32]),
    ) -> Result<()> {
        self.shaped(shape)?;
        self.update_by_two((a, b), fill)
    }

    /// Changes the map in place, by `x`.
    pub(super) fn update_by(
        &mut self,
        x: &Self,
        change: impl Fn(&mut [f32], &[f32]),
    ) -> Result<()> {
        let lens = (self.len(), x.len());
        let op = Fill(|y: &mut [f32], x: &[f32]| change(&mut y[..lens.0], &x[..lens.1]));
        self.handle.inplace_op2(&x.handle, &op)
    }

    /// Changes the map in place, by `a` and `b`.
    pub(super) fn update_by_two(
        &mut self,
        (a, b): (&Self, &Self),
        change: impl Fn(&mut [f32], &[f32], &[f32]),
    ) -> Result<()> {
        let lens = (self.len(), a.len(), b.len());
        let op = Fill(|y: &mut [f32], a: &[f32], b: &[f32]| {
            change(&mut y[..lens.0], &a[..lens.1], &b[..lens.2]);
        });
        self.handle.inplace_op3(&a.handle, &b.handle, &op)
    }

    /// The map becomes a plain run of `len` values, of which every one is to be written.
    pub(super) fn fill_flat(&mut self, len: usize, fill: impl Fn(&mut [f32])) -> Result<()> {
        self.fill((1, len.div_ceil(BLOCK), BLOCK), |values| {
            let (run, rest) = values.split_at_mut(len);
            fill(run);
            rest.fill(0.0);
        })
    }

    /// Gives the planes to read.
    pub fn read<T>(&self, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
        let (storage, _) = self.values.storage_and_layout();
        match &*storage {
            Storage::Cpu(CpuStorage::F32(values)) => Ok(read(&values[..self.len()])),
            _ => bail!("a map is f32 in the processor's memory"),
        }
    }

    /// A copy as a tensor `[height, width, channels]`.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let (height, width, channels) = self.shape;
        let planes = self.values.narrow(0, 0, self.len())?;
        let planes = planes.reshape((self.blocks(), height, width, BLOCK))?;
        let pixels = planes.permute((1, 2, 0, 3))?.reshape((height, width, ()))?;
        pixels.narrow(2, 0, channels)?.contiguous()
    }
}

/// The pixels of a picture as values, with a border: what the first layer reads.
pub struct Bordered(pub(super) Map);

impl Bordered {
    /// Empty.
    pub fn new() -> Result<Self> {
        Ok(Self(Map::new()?))
    }
}

/// A function over the memory of f32 tensors, from its beginning, as a candle operator.
struct Fill<F>(F);

fn written(storage: &mut CpuStorage) -> Result<&mut [f32]> {
    match storage {
        CpuStorage::F32(values) => Ok(values),
        _ => bail!("a map is f32"),
    }
}

impl<F: Fn(&mut [f32])> InplaceOp1 for Fill<F> {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, _: &Layout) -> Result<()> {
        self.0(written(y)?);
        Ok(())
    }
}

impl<F: Fn(&mut [f32], &[f32])> InplaceOp2 for Fill<F> {
    fn name(&self) -> &'static str {
        "fill-from"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, _: &Layout, a: &CpuStorage, _: &Layout) -> Result<()> {
        self.0(written(y)?, a.as_slice()?);
        Ok(())
    }
}

impl<F: Fn(&mut [f32], &[f32], &[f32])> InplaceOp3 for Fill<F> {
    fn name(&self) -> &'static str {
        "fill-from-two"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        _: &Layout,
        a: &CpuStorage,
        _: &Layout,
        b: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        self.0(written(y)?, a.as_slice()?, b.as_slice()?);
        Ok(())
    }
}
