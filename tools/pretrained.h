// Pretrained weights that anyone can install, by name: where they come from, where they lie on this machine, and what
// goes with them that their files do not say. Internal to tools/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "models/load.h"

namespace fovea::tools {

struct Pretrained {
  std::string name;                               ///< what users type
  std::string input, classes;                     ///< for people: "224×224", "1000 of ImageNet"
  std::string license;                            ///< SPDX
  std::string package, version;                   ///< on PyPI
  std::string member;                             ///< in the package's wheel
  std::string sha256;                             ///< of the member
  std::uint64_t bytes = 0;                        ///< of the member
  std::uint64_t wheel_bytes = 0;                  ///< to download
  std::vector<std::string> class_names = {};      ///< none where loading gives them
  image::Filter filter = image::Filter::bicubic;  ///< pictures were resized with it

  /// The file's name in weights_folder(): the member's own.
  std::string file_name() const { return member.substr(member.rfind('/') + 1); }
};

const std::vector<Pretrained>& pretrained_weights();
/// nullptr if there is none of that name.
const Pretrained* find_pretrained(std::string_view name);

/// $FOVEA_WEIGHTS, $XDG_CACHE_HOME/fovea/weights or ~/.cache/fovea/weights: the first that is set.
std::string weights_folder();
/// Where the weights lie or would lie.
std::string installed_path(const Pretrained& weights);
/// Whether a file of the right size lies there.
bool is_installed(const Pretrained& weights);

/// A file as it is, or the installed file of a name. Error{file} saying how to fetch it for a name whose file is not
/// there; a word that is neither is returned as it is.
std::string weights_path(const std::string& name_or_path);
/// Where the file is one of pretrained_weights(), by whatever path: what it does not say is filled in, which is
/// preprocessing and, for the head it comes with, class names.
void fill_in(Model& model, const std::string& path, bool own_head);
/// models::load() of weights_path(name_or_path), filled in.
Model load_weights(const std::string& name_or_path, const models::LoadOptions& options);

}  // namespace fovea::tools
