//! Reads the weights and the connections of an ONNX graph.
//!
//! ONNX is protobuf. The messages below are those fields of `onnx.proto` (IR version 3 and later)
//! that hold the weights and the inputs of each operator; prost skips the rest.

use prost::Message;

use super::weights::{Array, Malformed, Weights};

/// `TensorProto.DataType.FLOAT`
const FLOAT: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
}

/// One operator of the graph: inputs, outputs and settings.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    f: f32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

/// The operators of a model, without the weights.
#[derive(Debug)]
pub struct Graph {
    nodes: Vec<Node>,
}

/// Splits an ONNX file into its graph and its f32 initialisers (others are shapes, not weights).
pub fn read(bytes: &[u8]) -> Result<(Graph, Weights), Malformed> {
    let model = ModelProto::decode(bytes)?;
    let graph = model.graph.ok_or_else(|| Malformed::Missing("the graph".to_owned()))?;
    let mut weights = Weights::default();
    for tensor in graph.initializer.into_iter().filter(|tensor| tensor.data_type == FLOAT) {
        weights.insert(tensor.name.clone(), array(tensor)?);
    }
    Ok((Graph { nodes: graph.node }, weights))
}

fn array(tensor: TensorProto) -> Result<Array, Malformed> {
    // A negative side becomes a size that no number of values can fill.
    let side = |&side: &i64| usize::try_from(side).unwrap_or(usize::MAX);
    let shape = tensor.dims.iter().map(side).collect();
    if tensor.raw_data.is_empty() {
        Array::new(&tensor.name, shape, tensor.float_data)
    } else {
        Array::from_le_bytes(&tensor.name, shape, &tensor.raw_data)
    }
}

impl Graph {
    /// Returns the only operator of this kind that reads `value`: an input, a weight or another's
    /// output.
    pub fn reader(&self, operator: &'static str, value: &str) -> Result<&Node, Malformed> {
        let reads = |node: &&Node| {
            node.op_type == operator && node.input.iter().any(|input| input == value)
        };
        let mut readers = self.nodes.iter().filter(reads);
        match (readers.next(), readers.next()) {
            (Some(node), None) => Ok(node),
            _ => Err(Malformed::Graph { operator, value: value.to_owned() }),
        }
    }

    /// Returns the only operator of this kind that reads an output of `node`.
    pub fn next(&self, node: &Node, operator: &'static str) -> Result<&Node, Malformed> {
        let value = node.output.first().map(String::as_str).unwrap_or_default();
        self.reader(operator, value)
    }
}

impl Node {
    /// Returns the name of the operand at `index`, in the operator's own order.
    pub fn operand(&self, index: usize) -> Result<&str, Malformed> {
        let missing = || Malformed::Missing(format!("operand {index} of a {}", self.op_type));
        self.input.get(index).map(String::as_str).ok_or_else(missing)
    }

    pub fn attribute(&self, name: &str) -> Result<f32, Malformed> {
        let found = self.attribute.iter().find(|attribute| attribute.name == name);
        let missing = || Malformed::Missing(format!("{name} of a {}", self.op_type));
        found.map(|attribute| attribute.f).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(dims: Vec<i64>, raw_data: Vec<u8>) -> Vec<u8> {
        let tensor = TensorProto {
            dims,
            data_type: FLOAT,
            name: "w".into(),
            raw_data,
            ..Default::default()
        };
        let epsilon = AttributeProto { name: "epsilon".into(), f: 0.5 };
        let node = Node {
            input: vec!["x".into(), "w".into()],
            output: vec!["y".into()],
            op_type: "Conv".into(),
            attribute: vec![epsilon],
        };
        let graph = GraphProto { node: vec![node], initializer: vec![tensor] };
        ModelProto { graph: Some(graph) }.encode_to_vec()
    }

    fn two_values() -> Vec<u8> {
        [1f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn reads_connections_and_weights() {
        let (graph, mut weights) = read(&model(vec![1, 2], two_values())).unwrap();
        let conv = graph.reader("Conv", "x").unwrap();
        assert_eq!(conv.attribute("epsilon").unwrap(), 0.5);
        let weight = weights.take(conv.operand(1).unwrap()).unwrap();
        assert_eq!((weight.shape(), weight.data()), ([1, 2].as_slice(), [1.0, -2.0].as_slice()));
        weights.finish().unwrap();
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = model(vec![2], two_values());
        for end in 1..whole.len() {
            let error = read(&whole[..end]).unwrap_err();
            assert!(matches!(error, Malformed::Protobuf(_)), "{end}: {error}");
        }
        assert!(matches!(read(&[]).unwrap_err(), Malformed::Missing(_)));
    }

    #[test]
    fn wrong_shapes_are_errors() {
        for dims in [vec![3], vec![-2], vec![i64::MAX, i64::MAX], vec![]] {
            let error = read(&model(dims, two_values())).unwrap_err();
            assert!(matches!(error, Malformed::Length { .. }), "{error}");
        }
        let odd = read(&model(vec![2], vec![0; 7])).unwrap_err();
        assert!(matches!(odd, Malformed::Truncated(_)), "{odd}");
    }

    #[test]
    fn missing_connections_are_errors() {
        let (graph, weights) = read(&model(vec![2], two_values())).unwrap();
        let conv = graph.reader("Conv", "x").unwrap();
        assert!(matches!(graph.next(conv, "PRelu").unwrap_err(), Malformed::Graph { .. }));
        assert!(matches!(conv.operand(2).unwrap_err(), Malformed::Missing(_)));
        assert!(matches!(weights.finish().unwrap_err(), Malformed::Unused(_)));
    }
}
