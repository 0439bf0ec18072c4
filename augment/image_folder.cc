// Lists a folder of class folders.
#include "augment/image_folder.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "augment/files_internal.h"
#include "core/error.h"
#include "image/resize.h"

namespace fovea {

struct ImageFolder::State {
  ImageFolderOptions options;
  std::string folder;
  std::vector<std::string> class_names;
  struct Item {
    std::string path;  // below `folder`
    std::int64_t label;
  };
  std::vector<Item> items;
  std::vector<std::string> warnings;
};

namespace {

constexpr int kMaxDepth = 64;  // links that name ever new paths end here

struct Scan {
  std::vector<std::string> pictures;   // paths below the class folder's parent
  std::map<std::string, int> foreign;  // extension → files this library does not read
};

void scan(const std::string& root, const std::string& below, std::vector<std::string>& ancestors, Scan& found) {
  const std::string folder = files::join(root, below);
  const std::string real = files::canonical(folder);
  if (std::find(ancestors.begin(), ancestors.end(), real) != ancestors.end()) return;  // a link back up
  if (ancestors.size() >= kMaxDepth) {
    throw Error(ErrorKind::file, folder, str("folders nested deeper than ", kMaxDepth));
  }
  ancestors.push_back(real);
  for (const files::Entry& entry : files::list(folder)) {
    const std::string path = below + "/" + entry.name;
    if (entry.is_folder) {
      scan(root, path, ancestors, found);
    } else if (files::is_picture(entry.name)) {
      found.pictures.push_back(path);
    } else if (files::is_foreign_picture(entry.name)) {
      ++found.foreign[files::lower_extension(entry.name)];
    }
  }
  ancestors.pop_back();
}

std::string describe(const std::map<std::string, int>& foreign) {
  std::string text;
  for (const auto& [extension, count] : foreign) text += str(text.empty() ? "" : ", ", count, " .", extension);
  return text;
}

std::string quoted_list(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 10;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) text += str(i ? ", '" : "'", names[i], "'");
  if (names.size() > kShown) text += str(" and ", names.size() - kShown, " more");
  return text;
}

bool names_a_part(const std::string& name) {
  for (const char* part : {"train", "training", "val", "valid", "validation", "test", "testing"}) {
    if (name == part) return true;
  }
  return false;
}

/// The class folders, after everything that is wrong with the folder as a whole has been said.
std::vector<std::string> class_folders(const std::string& folder) {
  files::require_folder(folder, "give the folder that holds one folder of pictures per class");
  std::vector<std::string> folders;
  std::size_t pictures = 0, parts = 0;
  for (const files::Entry& entry : files::list(folder)) {
    if (entry.is_folder) {
      folders.push_back(entry.name);
      parts += names_a_part(entry.name);
    } else {
      pictures += files::is_picture(entry.name);
    }
  }
  if (folders.empty() && pictures > 0) {
    throw Error(ErrorKind::usage, folder, str("holds ", pictures, " pictures but no class folders"),
                "sort the pictures into one folder per class, or list them in a CSV manifest (path,label)");
  }
  if (folders.empty()) {
    throw Error(ErrorKind::file, folder, "the folder is empty", "it should hold one folder of pictures per class");
  }
  if (parts == folders.size() && parts >= 2) {
    throw Error(ErrorKind::usage, folder, str("holds the parts ", quoted_list(folders), ", not classes"),
                "give one of them, or open all with open_dataset()");
  }
  return folders;
}

}  // namespace

ImageFolder::ImageFolder(const std::string& folder, const ImageFolderOptions& options) {
  const auto in_range = [](int v) { return v >= 0 && v <= 1 << 20; };
  if (!in_range(options.image_size) || !in_range(options.shrink_to) || !in_range(options.group_prefix)) {
    throw Error(ErrorKind::usage, "ImageFolder",
                str("image_size = ", options.image_size, ", shrink_to = ", options.shrink_to,
                    ", group_prefix = ", options.group_prefix, ": none may be negative or huge"));
  }
  auto state = std::make_shared<State>();
  state->options = options;
  state->folder = folder;
  const std::vector<std::string> folders = class_folders(folder);
  state->class_names = options.class_names.empty() ? folders : options.class_names;

  std::map<std::string, std::int64_t> number;
  for (std::size_t c = 0; c < state->class_names.size(); ++c) {
    if (!number.emplace(state->class_names[c], static_cast<std::int64_t>(c)).second) {
      throw Error(ErrorKind::usage, "ImageFolder", str("class_names holds '", state->class_names[c], "' twice"));
    }
  }
  std::vector<std::string> unknown, empty;
  std::map<std::string, int> foreign;
  for (const std::string& name : folders) {
    const auto label = number.find(name);
    if (label == number.end()) {
      unknown.push_back(name);
      continue;
    }
    Scan found;
    std::vector<std::string> ancestors = {files::canonical(folder)};
    scan(folder, name, ancestors, found);
    if (found.pictures.empty()) {
      empty.push_back(found.foreign.empty() ? name : str(name, " (only ", describe(found.foreign), ")"));
    }
    for (std::string& path : found.pictures) state->items.push_back({std::move(path), label->second});
    for (const auto& [extension, count] : found.foreign) foreign[extension] += count;
  }
  if (!unknown.empty()) {
    throw Error(ErrorKind::usage, folder,
                str("holds the ", unknown.size() == 1 ? "class " : "classes ", quoted_list(unknown), ", which ",
                    unknown.size() == 1 ? "is" : "are", " not among the ", state->class_names.size(),
                    " known ones: ", quoted_list(state->class_names)),
                "folders must be named as the classes that were learnt");
  }
  if (state->items.empty()) {
    throw Error(ErrorKind::file, folder,
                foreign.empty() ? "no pictures in any class folder"
                                : str("no pictures that can be read, only ", describe(foreign)),
                "fovea reads JPEG, PNG, BMP and DICOM (.jpg .jpeg .png .bmp .dcm in any case)");
  }
  // With given class names an empty folder equals an absent one.
  if (!empty.empty() && !options.allow_empty_classes && options.class_names.empty()) {
    throw Error(ErrorKind::usage, folder,
                str(empty.size() == 1 ? "class " : "classes ", quoted_list(empty), " without pictures"),
                "add pictures, remove the folder, or set allow_empty_classes");
  }
  if (!foreign.empty()) {
    state->warnings.push_back(
        str(folder, ": left out files that are neither JPEG, PNG, BMP nor DICOM: ", describe(foreign)));
  }
  // The classes' own order may differ from the folders' when class_names were given.
  std::stable_sort(state->items.begin(), state->items.end(),
                   [](const auto& a, const auto& b) { return a.label < b.label; });
  state_ = std::move(state);
}

std::int64_t ImageFolder::size() const { return static_cast<std::int64_t>(state_->items.size()); }

image::Image ImageFolder::image(std::int64_t i) const {
  const int limit = state_->options.shrink_to;
  image::DecodeOptions decode = state_->options.decode;
  // Twice the size: what is left to the filter hides what the coarser decoding does.
  if (limit > 0 && decode.shorter_side_at_least == 0) decode.shorter_side_at_least = 2 * limit;
  image::Image picture = image::read_image(name(i), decode);
  if (limit > 0 && std::min(picture.width, picture.height) > limit) return image::resize_shorter_side(picture, limit);
  return picture;
}

std::int64_t ImageFolder::label(std::int64_t i) const { return state_->items.at(static_cast<std::size_t>(i)).label; }
const std::vector<std::string>& ImageFolder::class_names() const { return state_->class_names; }
std::string ImageFolder::name(std::int64_t i) const {
  return files::join(state_->folder, state_->items.at(static_cast<std::size_t>(i)).path);
}

std::string ImageFolder::group(std::int64_t i) const {
  if (state_->options.group_prefix == 0) return {};
  const std::string& path = state_->items.at(static_cast<std::size_t>(i)).path;
  return path.substr(path.rfind('/') + 1).substr(0, static_cast<std::size_t>(state_->options.group_prefix));
}

int ImageFolder::image_size() const { return state_->options.image_size; }
std::vector<std::string> ImageFolder::warnings() const { return state_->warnings; }

Splits ImageFolder::split(const SplitOptions& options) const {
  return fovea::split(std::make_shared<ImageFolder>(*this), options);
}

}  // namespace fovea
