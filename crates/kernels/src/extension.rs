//! The kernels as an extension of Burn's CPU backend, and of its autodiff decorator with hand-written gradients.
//!
//! Tensors on any other backend never come here: the public functions compose Burn's operations for them.

use crate::cpu::{adamw, attention, squares};
use crate::operation::{Operation, View, attention_shape};
use crate::reference::AdamWStep;
use burn::backend::autodiff::{
    NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Autodiff, Backend, Flex, backend_extension, tensor::FloatTensor};
use burn::tensor::{Bytes, DType, Shape};

/// What the dispatcher calls, by number of tensors.
#[backend_extension(Flex, Autodiff)]
pub trait KernelBackend: Backend {
    /// Runs an operation on one tensor.
    fn run_1(operation: Operation, first: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Runs an operation on two tensors.
    fn run_2(operation: Operation, first: FloatTensor<Self>, second: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Runs an operation on three tensors.
    fn run_3(
        operation: Operation,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Runs an operation on four tensors.
    fn run_4(
        operation: Operation,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Weights, first moment, second moment and average of a parameter.
type OptimiserState<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

/// What is never differentiated: the optimiser's update, the length of gradients, and attention maps to look at.
#[backend_extension(Flex)]
pub trait UntrackedBackend: Backend {
    /// Softmax of the scores, averaged over heads.
    fn attention_maps(num_heads: usize, query: FloatTensor<Self>, key: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The sum of squares of all values, one number in double precision.
    fn sum_of_squares(values: FloatTensor<Self>) -> FloatTensor<Self>;

    /// One step on weights, moments and average.
    fn adamw(
        settings: AdamWStep,
        gradient: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        first_moment: FloatTensor<Self>,
        second_moment: FloatTensor<Self>,
        average: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl UntrackedBackend for Flex {
    fn attention_maps(num_heads: usize, query: FlexTensor, key: FlexTensor) -> FlexTensor {
        with_views(&[query, key], |views| {
            let shape = attention_shape(views[0].dims, views[1].dims, num_heads);
            let maps = attention::maps(&shape, views[0].values, views[1].values);
            tensor_from(maps, &[shape.batch, shape.query_tokens, shape.key_tokens])
        })
    }

    fn sum_of_squares(values: FlexTensor) -> FlexTensor {
        let sum = with_views(&[values], |views| squares::sum(views[0].values));
        FlexTensor::new(Bytes::from_elems(vec![sum]), Layout::contiguous(Shape::from(vec![1])), DType::F64)
    }

    fn adamw(
        settings: AdamWStep,
        gradient: FlexTensor,
        weights: FlexTensor,
        first_moment: FlexTensor,
        second_moment: FlexTensor,
        average: FlexTensor,
    ) -> OptimiserState<Self> {
        // Updated in place below: a view of a larger buffer or a permuted one is copied to one of its own.
        let own = |tensor: FlexTensor| {
            let whole = tensor.bytes().len() == size_of::<f32>() * tensor.layout().num_elements();
            if whole && tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
        };
        let [mut weights, mut first_moment] = [weights, first_moment].map(own);
        let [mut second_moment, mut average] = [second_moment, average].map(own);
        with_views(&[gradient], |gradient| {
            adamw::step(
                &settings,
                gradient[0].values,
                weights.storage_mut(),
                first_moment.storage_mut(),
                second_moment.storage_mut(),
                average.storage_mut(),
            );
        });
        (weights, first_moment, second_moment, average)
    }
}

/// A backend that has the kernels themselves.
trait Execute: Backend {
    fn forward(operation: Operation, inputs: &[FloatTensor<Self>]) -> FloatTensor<Self>;

    /// The gradients of the wanted inputs, others may be left out.
    fn backward(
        operation: Operation,
        inputs: &[FloatTensor<Self>],
        gradient: FloatTensor<Self>,
        wanted: &[bool],
    ) -> Vec<Option<FloatTensor<Self>>>;
}

fn tensor_from(values: Vec<f32>, dims: &[usize]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(dims.to_vec())), DType::F32)
}

/// Calls `body` with views of contiguous single-precision tensors, copying those that are not contiguous.
fn with_views<T>(tensors: &[FlexTensor], body: impl FnOnce(&[View]) -> T) -> T {
    let tensors: Vec<FlexTensor> =
        tensors.iter().map(|t| if t.is_contiguous() { t.clone() } else { t.to_contiguous() }).collect();
    let views: Vec<View> = tensors
        .iter()
        .map(|tensor| {
            let shape = tensor.layout().shape();
            let start = tensor.layout().start_offset();
            View { values: &tensor.storage::<f32>()[start..start + shape.num_elements()], dims: shape.as_slice() }
        })
        .collect();
    body(&views)
}

impl Execute for Flex {
    fn forward(operation: Operation, inputs: &[FlexTensor]) -> FlexTensor {
        with_views(inputs, |views| {
            let (values, dims) = operation.forward(views);
            tensor_from(values, &dims)
        })
    }

    fn backward(
        operation: Operation,
        inputs: &[FlexTensor],
        gradient: FlexTensor,
        wanted: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|input| input.layout().shape().to_vec()).collect();
        let gradients = with_views(inputs, |views| {
            with_views(&[gradient], |gradient| operation.backward(views, gradient[0].values, wanted))
        });
        gradients
            .into_iter()
            .zip(shapes)
            .map(|(values, dims)| values.map(|values| tensor_from(values, &dims)))
            .collect()
    }
}

impl KernelBackend for Flex {
    fn run_1(operation: Operation, first: FlexTensor) -> FlexTensor {
        Self::forward(operation, &[first])
    }

    fn run_2(operation: Operation, first: FlexTensor, second: FlexTensor) -> FlexTensor {
        Self::forward(operation, &[first, second])
    }

    fn run_3(operation: Operation, first: FlexTensor, second: FlexTensor, third: FlexTensor) -> FlexTensor {
        Self::forward(operation, &[first, second, third])
    }

    fn run_4(
        operation: Operation,
        first: FlexTensor,
        second: FlexTensor,
        third: FlexTensor,
        fourth: FlexTensor,
    ) -> FlexTensor {
        Self::forward(operation, &[first, second, third, fourth])
    }
}

/// Node of the autodiff graph; the operation and its inputs are the state.
#[derive(Debug)]
struct Step;

impl<B: Execute, const N: usize> Backward<B, N> for Step {
    type State = (Operation, [NodeId; N]);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (operation, nodes) = ops.state;
        let inputs = nodes.map(|node| checkpointer.retrieve_node_output::<FloatTensor<B>>(node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = B::backward(operation, &inputs, gradient, &wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

fn tracked<B: Execute, C: CheckpointStrategy, const N: usize>(
    operation: Operation,
    inputs: [FloatTensor<Autodiff<B, C>>; N],
) -> FloatTensor<Autodiff<B, C>> {
    match Step.prepare::<C>(inputs.each_ref().map(|input| input.node())).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let nodes = inputs.each_ref().map(|input| prep.checkpoint(input));
            let output = B::forward(operation, &inputs.map(|input| input.into_primitive()));
            prep.finish((operation, nodes), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::forward(operation, &inputs.map(|input| input.into_primitive()))),
    }
}

#[allow(private_bounds)]
impl<B: Execute, C: CheckpointStrategy> KernelBackend for Autodiff<B, C> {
    fn run_1(operation: Operation, first: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<B, C, 1>(operation, [first])
    }

    fn run_2(operation: Operation, first: FloatTensor<Self>, second: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<B, C, 2>(operation, [first, second])
    }

    fn run_3(
        operation: Operation,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        tracked::<B, C, 3>(operation, [first, second, third])
    }

    fn run_4(
        operation: Operation,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        tracked::<B, C, 4>(operation, [first, second, third, fourth])
    }
}
