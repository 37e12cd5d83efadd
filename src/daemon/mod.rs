//! Starts the workers and the local control socket.
