"""The processing service: gRPC on :50052, and the reconciler that keeps one flow run going per broadcast."""
