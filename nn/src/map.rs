//! Activation maps, in reused candle tensors.

use super::kernel::{Cell, Range};
use super::lanes::BLOCK;
use candle_core::{
    CpuStorage, Device, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Storage, Tensor,
    WithDType, bail,
};
use std::marker::PhantomData;

/// Height, width, channels.
pub type Shape = (usize, usize, usize);

/// One activation map of one picture: planes `[⌈channels / 16⌉, height, width, 16]`; channels
/// beyond the last are zeros. Cells are f32, or bytes that represent values by a range. Operators
/// write it in place; its memory grows to the largest map that it has held and is not freed, so
/// that a forward pass of known shapes allocates nothing.
pub struct Map {
    values: Memory,
    bytes: Memory,
    shape: Shape,
    /// The range of the bytes; without one the cells are values.
    range: Option<Range>,
}

/// Cells that a map may use.
struct Memory {
    /// One dimension; the map is at its beginning.
    all: Tensor,
    /// The first cell, through which operators reach the memory: candle allocates the list of axes
    /// of a tensor written in place on the heap each time, and a single cell has no axes.
    handle: Tensor,
}

impl Memory {
    fn of<T: WithDType>(len: usize) -> Result<Self> {
        let all = Tensor::zeros(len.max(1), T::DTYPE, &Device::Cpu)?;
        Ok(Self { handle: all.narrow(0, 0, 1)?, all })
    }
}

/// A type of cells, and its memory in a map.
pub(super) trait Element: Cell + WithDType {
    fn memory(map: &Map) -> &Tensor;
    fn reserve(map: &mut Map, len: usize) -> Result<()>;
    fn cells(storage: &mut CpuStorage) -> Option<&mut Vec<Self>>;
}

macro_rules! element {
    ($cell:ty, $field:ident, $storage:ident) => {
        impl Element for $cell {
            fn memory(map: &Map) -> &Tensor {
                &map.$field.handle
            }

            fn reserve(map: &mut Map, len: usize) -> Result<()> {
                if map.$field.all.elem_count() < len {
                    map.$field = Memory::of::<Self>(len)?;
                }
                Ok(())
            }

            fn cells(storage: &mut CpuStorage) -> Option<&mut Vec<Self>> {
                match storage {
                    CpuStorage::$storage(cells) => Some(cells),
                    _ => None,
                }
            }
        }
    };
}

element!(f32, values, F32);
element!(u8, bytes, U8);

impl Map {
    /// Makes a map without pixels.
    pub fn new() -> Result<Self> {
        let (values, bytes) = (Memory::of::<f32>(0)?, Memory::of::<u8>(0)?);
        Ok(Self { values, bytes, shape: (0, 0, 0), range: None })
    }

    /// Returns height, width, channels.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Returns the range of its bytes; `None` for values.
    pub(super) fn range(&self) -> Option<Range> {
        self.range
    }

    /// Gives its bytes, which were changed in place, another range.
    pub(super) fn reinterpret(&mut self, range: Range) {
        self.range = Some(range);
    }

    /// Refuses a map whose range is not the one the layer was made for.
    pub(super) fn expect_range(&self, range: Option<Range>) -> Result<()> {
        if self.range != range {
            bail!("a layer made for {range:?} on a map of {:?}", self.range);
        }
        Ok(())
    }

    /// Returns the number of blocks of sixteen channels.
    pub(super) fn blocks(&self) -> usize {
        self.shape.2.div_ceil(BLOCK)
    }

    pub(super) fn len(&self) -> usize {
        self.shape.0 * self.shape.1 * self.blocks() * BLOCK
    }

    /// Sets the shape, and grows the memory if it is too small.
    fn shaped<Y: Element>(&mut self, shape: Shape, range: Option<Range>) -> Result<usize> {
        (self.shape, self.range) = (shape, range);
        let len = self.len();
        Y::reserve(self, len)?;
        Ok(len)
    }

    /// Replaces the map by the values that `fill` writes; `fill` must write every value.
    pub(super) fn fill(&mut self, shape: Shape, fill: impl Fn(&mut [f32])) -> Result<()> {
        let len = self.shaped::<f32>(shape, None)?;
        let op = Fill::<_, (f32,)>::new(|y: &mut [f32]| fill(&mut y[..len]));
        self.values.handle.inplace_op1(&op)
    }

    /// Replaces the map by what `fill` computes from `x`; `fill` must write every cell. With a
    /// range the cells are bytes.
    pub(super) fn fill_from<Y: Element, X: Element>(
        &mut self,
        shape: Shape,
        range: Option<Range>,
        x: &Self,
        fill: impl Fn(&mut [Y], &[X]),
    ) -> Result<()> {
        self.shaped::<Y>(shape, range)?;
        self.update_by(x, fill)
    }

    /// Replaces the map by what `fill` computes from `a` and `b`; `fill` must write every cell.
    pub(super) fn fill_from_two<Y: Element, A: Element, B: Element>(
        &mut self,
        shape: Shape,
        range: Option<Range>,
        (a, b): (&Self, &Self),
        fill: impl Fn(&mut [Y], &[A], &[B]),
    ) -> Result<()> {
        self.shaped::<Y>(shape, range)?;
        let lens = (self.len(), a.len(), b.len());
        let fill = |y: &mut [Y], a: &[A], b: &[B]| {
            fill(&mut y[..lens.0], &a[..lens.1], &b[..lens.2]);
        };
        let op = Fill::<_, (Y, A, B)>::new(fill);
        Y::memory(self).inplace_op3(A::memory(a), B::memory(b), &op)
    }

    /// Changes the map in place, from `x`.
    pub(super) fn update_by<Y: Element, X: Element>(
        &mut self,
        x: &Self,
        change: impl Fn(&mut [Y], &[X]),
    ) -> Result<()> {
        let lens = (self.len(), x.len());
        let change = |y: &mut [Y], x: &[X]| change(&mut y[..lens.0], &x[..lens.1]);
        Y::memory(self).inplace_op2(X::memory(x), &Fill::<_, (Y, X)>::new(change))
    }

    /// Replaces the map by a flat run of `len` values; `fill` must write every value.
    pub(super) fn fill_flat(&mut self, len: usize, fill: impl Fn(&mut [f32])) -> Result<()> {
        self.fill((1, len.div_ceil(BLOCK), BLOCK), |values| {
            let (run, rest) = values.split_at_mut(len);
            fill(run);
            rest.fill(0.0);
        })
    }

    /// Passes the planes of a map of values to `read`.
    pub fn read<T>(&self, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
        self.expect_range(None)?;
        self.cells(|values| read(&values[..self.len()]))
    }

    /// Returns a copy of the values as a tensor `[height, width, channels]`.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let values = match self.range {
            None => self.pixels::<f32>(|value| value)?,
            Some(Range { scale, zero }) => {
                let zero = f32::from(zero);
                self.pixels::<u8>(|byte| (f32::from(byte) - zero) * scale)?
            }
        };
        Tensor::from_vec(values, self.shape, &Device::Cpu)
    }

    /// Returns the values of its cells, pixel after pixel, without the padding of the last plane.
    fn pixels<T: Element>(&self, value: impl Fn(T) -> f32) -> Result<Vec<f32>> {
        let (height, width, channels) = self.shape;
        let mut values = vec![0.0; height * width * channels];
        let copy = |cells: &[T]| {
            let planes = cells[..self.len()].chunks_exact((height * width * BLOCK).max(1));
            for (block, plane) in planes.enumerate() {
                let first = block * BLOCK;
                let count = BLOCK.min(channels - first);
                for (to, from) in values.chunks_exact_mut(channels).zip(plane.chunks_exact(BLOCK)) {
                    for (to, from) in to[first..first + count].iter_mut().zip(from) {
                        *to = value(*from);
                    }
                }
            }
        };
        self.cells(copy)?;
        Ok(values)
    }

    /// Passes the cells to `read`, without applying a range.
    fn cells<T: Element, R>(&self, read: impl FnOnce(&[T]) -> R) -> Result<R> {
        let (storage, _) = T::memory(self).storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok(read(storage.as_slice()?)),
            _ => bail!("a map lies in the processor's memory"),
        }
    }
}

/// The pixels of a picture as values, with a border: the input of the first layer.
pub struct Bordered(pub(super) Map);

impl Bordered {
    /// Makes an empty one.
    pub fn new() -> Result<Self> {
        Ok(Self(Map::new()?))
    }
}

/// A function over the memory of tensors of these cells, from its beginning, as a candle operator.
struct Fill<F, Cells>(F, PhantomData<Cells>);

impl<F, Cells> Fill<F, Cells> {
    fn new(fill: F) -> Self {
        Self(fill, PhantomData)
    }
}

fn written<Y: Element>(storage: &mut CpuStorage) -> Result<&mut [Y]> {
    match Y::cells(storage) {
        Some(cells) => Ok(cells),
        None => bail!("a map's memory is {:?}", Y::DTYPE),
    }
}

impl<Y: Element, F: Fn(&mut [Y])> InplaceOp1 for Fill<F, (Y,)> {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, _: &Layout) -> Result<()> {
        self.0(written(y)?);
        Ok(())
    }
}

impl<Y: Element, X: Element, F: Fn(&mut [Y], &[X])> InplaceOp2 for Fill<F, (Y, X)> {
    fn name(&self) -> &'static str {
        "fill-from"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, _: &Layout, a: &CpuStorage, _: &Layout) -> Result<()> {
        self.0(written(y)?, a.as_slice()?);
        Ok(())
    }
}

impl<Y, A, B, F> InplaceOp3 for Fill<F, (Y, A, B)>
where
    Y: Element,
    A: Element,
    B: Element,
    F: Fn(&mut [Y], &[A], &[B]),
{
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
