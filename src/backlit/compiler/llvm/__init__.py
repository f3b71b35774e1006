"""From graphs to native code through LLVM; importing it loads llvmlite."""
