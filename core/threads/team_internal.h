// The threads behind parallel_for.
#pragma once

#include <cstdint>

namespace fovea::detail {

/// Runs every chunk of a job once.
struct TeamJob {
  void (*run)(void* context, int chunk) = nullptr;
  void* context = nullptr;
  int chunks = 0;
};

/// Runs run(context, 0 … chunks−1) on this thread and workers; returns when all are done. `run` must not throw. A call
/// that comes while another thread's job is under way runs its chunks itself, one after the other.
void run_on_team(const TeamJob& job);
/// In a forked child, where the workers do not exist.
void forget_team();

}  // namespace fovea::detail
