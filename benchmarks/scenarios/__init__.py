"""What ranks do in the benchmarks that launch them."""
