//! Weights from GGUF and the operators of our networks on candle tensors.
