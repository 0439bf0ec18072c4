#include "models/options.h"

#include "core/error.h"

namespace fovea::models {
namespace {
constexpr std::string_view kLayouts[] = {"fovea", "torchvision", "timm", "keras", "huggingface", "tfslim", "lukemelas"};
}

std::string_view to_string(Layout layout) { return kLayouts[static_cast<std::size_t>(layout)]; }

Layout layout_from(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < std::size(kLayouts); ++i) {
    if (name == kLayouts[i]) return static_cast<Layout>(i);
    known += str(known.empty() ? "" : ", ", kLayouts[i]);
  }
  throw Error(ErrorKind::usage, "layout", str("there is no layout '", name, "'"), str("known are: ", known));
}

}  // namespace fovea::models
