"""The run on a machine with a GPU and no network: prepared here, run there."""
