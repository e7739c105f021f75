"""SpatialVersatileConv: versatile filters in space."""

from __future__ import annotations

from ppeconv.geometry import ConvGeometry
from ppeconv.operators.cost import Cost
from ppeconv.operators.versatile import FilterBank, Form, VersatileFilters, ring_count
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments


@OPERATORS.register(aliases=("SpatialVersatile",))
class SpatialVersatileConv(VersatileFilters):
    """Spatial versatile filters: a k x k filter is used with all its concentric kernels k, k - 2, ..., 1 or 2.

        Y = concat_i(crop_i(f) * X + b_i), i = 0..s-1, s = ceil(k / 2)

    where crop_i cuts i rings off the kernel: the same as a convolution with the mask that is 0 there.

    Parameters: C_in kh kw ceil(C_out / s) (+ C_out with bias). MACs: sum_i C_in (kh - 2i) (kw - 2i) m_i H' W', where
    m_i are the C_out channels in s shares as equal as can be. With form="sum" the plain convolution's.

    Departures: a bias for each secondary filter as in the paper's formula; exactly C_out channels where s does not
    divide it; rectangular kernels and inputs. A kernel of 1x1 has one ring and is the plain convolution.
    """

    class Arguments(OwnArguments):
        form: Form = "concat"
        """"concat", or "sum", the paper's naive variant: the sum over i, which is one convolution whose kernel counts
        its i-th ring i times and saves nothing."""

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        self.fill(_bank(geometry, own.form))

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        return _bank(geometry, own.form).cost(height, width)


def _bank(geometry: ConvGeometry, form: Form) -> FilterBank:
    return FilterBank(geometry, rings=ring_count(geometry.kernel_size), form=form)
