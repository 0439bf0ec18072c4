// From an exception to a message and an exit code. Internal to tools/.
#pragma once

#include <string>

namespace fovea::tools {

/// Inside a catch block: says on standard error what was thrown, behind "fovea: " and `who`, and returns the exit code.
int report_failure(const std::string& who = "");

}  // namespace fovea::tools
