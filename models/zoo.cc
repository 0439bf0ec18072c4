#include "models/zoo.h"

#include <nlohmann/json.hpp>

namespace fovea::models {
namespace {

struct Entry {
  const char* name;
  Model (*build)(const Options&);
  int min_size;  // smallest picture whose maps do not vanish
};
constexpr Entry kEntries[] = {{"small_cnn", small_cnn, 4},
                              {"fashion_cnn", fashion_cnn, 4},
                              {"fashion_cnn_wide", fashion_cnn_wide, 4},
                              {"picture_cnn", picture_cnn, 16}};

}  // namespace

Model create(const std::string& name, const Options& options) {
  const Entry* found = nullptr;
  std::string known;
  for (const Entry& entry : kEntries) {
    if (name == entry.name) found = &entry;
    known += str(known.empty() ? "" : ", ", entry.name);
  }
  if (!found)
    throw Error(ErrorKind::usage, "model", str("there is no network named '", name, "'"), str("known are: ", known));
  if (options.classes < 1) throw Error(ErrorKind::usage, name, str("needs at least 1 class, got ", options.classes));
  if (options.image_size != 0 && (options.image_size < found->min_size || options.image_size > 16384)) {
    throw Error(ErrorKind::usage, name,
                str("takes pictures of ", found->min_size, " to 16384 pixels, not ", options.image_size));
  }
  if (options.channels != 0 && options.channels != 1 && options.channels != 3) {
    throw Error(ErrorKind::usage, name, str("takes 1 or 3 channels, not ", options.channels));
  }
  Model model = found->build(options);
  model.network().initialize(options.seed);
  model.architecture = name;
  model.architecture_options = nlohmann::ordered_json{
      {"classes", options.classes},
      {"image_size", model.preprocessing.width},
      {"channels", model.preprocessing.channels},
      {"seed", options.seed}}.dump();
  return model;
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const Entry& entry : kEntries) out.emplace_back(entry.name);
  return out;
}

}  // namespace fovea::models
