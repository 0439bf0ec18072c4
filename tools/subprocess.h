// Runs another program: no shell, no input, its output kept, stopped by Ctrl-C or when its time is over. Internal to
// tools/.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "train/cancel.h"

namespace fovea::tools {

struct Finished {
  enum class How { exited, killed, too_long, not_found } how = How::exited;
  int status = 0;      ///< exit status or signal number
  std::string output;  ///< the last 16 KiB of standard output and standard error
};

/// `words` is the program, searched in PATH, and its arguments, passed as they are. It runs in `folder`, in a process
/// group of its own, with nothing on standard input. When it takes longer than `limit`, or `cancel` is requested, it
/// and what it started are ended (SIGTERM, SIGKILL 2 s later). Error{cancelled} then; Error{file} where the system
/// refuses.
Finished run_program(const std::vector<std::string>& words, const std::string& folder, std::chrono::seconds limit,
                     const CancelToken& cancel);

}  // namespace fovea::tools
