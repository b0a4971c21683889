"""The graph: kernels as text, ops that record them, and the plan that is replayed."""
