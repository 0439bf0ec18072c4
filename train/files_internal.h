// Small questions about files. Internal to train.
#pragma once

#include <string>

namespace fovea {

bool file_exists(const std::string& path);
/// Makes the folders above `path` and a file there and removes it again: Error{file} naming the reason if that fails.
void check_writable(const std::string& path);

}  // namespace fovea
