// An outside program: it must build against the installed tree alone, in under 3 s at -O0, and run.
#include <fovea/fovea.h>

#include <cstdio>

int main() {
  const fovea::Error error(fovea::ErrorKind::usage, "consumer", fovea::str("linked ", 1, " library"));
  std::puts(error.what());
  return 0;
}
