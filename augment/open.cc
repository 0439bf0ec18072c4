// Recognises the kind of a dataset by what lies at its path.
#include "augment/open.h"

#include <algorithm>
#include <utility>

#include "augment/cifar.h"
#include "augment/coco_dataset.h"
#include "augment/csv_dataset.h"
#include "augment/files_internal.h"
#include "augment/idx.h"
#include "augment/image_folder.h"
#include "augment/pack.h"
#include "core/error.h"

namespace fovea {

namespace {

enum class Kind { csv, coco, pack, idx, cifar, parts, folder };

/// The folder that plays the part, or nothing.
std::string part_folder(const std::string& path, const std::string& split) {
  std::vector<const char*> names;
  if (split == "train") names = {"train", "training"};
  if (split == "val") names = {"val", "valid", "validation"};
  if (split == "test") names = {"test", "testing"};
  for (const char* name : names) {
    const std::string folder = files::join(path, name);
    if (files::is_folder(folder)) return folder;
  }
  return {};
}

constexpr const char* kExpected =
    "give a folder with one folder of pictures per class, a .csv manifest (path,label), a COCO Camera Traps .json, "
    "or what `fovea pack` made";

Kind recognise(const std::string& path) {
  if (files::is_file(path)) {
    if (files::lower_extension(path) == "csv") return Kind::csv;
    if (files::lower_extension(path) == "json") return Kind::coco;
    if (PackDataset::is_pack(path)) return Kind::pack;
    throw Error(ErrorKind::usage, path, "this is a file, not a data set", kExpected);
  }
  files::require_folder(path, kExpected);
  for (const char* split : {"train", "test"}) {
    if (IdxDataset::found_in(path, split)) return Kind::idx;
    if (CifarDataset::found_in(path, split)) return Kind::cifar;
  }
  const bool train = !part_folder(path, "train").empty();
  if (train && (!part_folder(path, "val").empty() || !part_folder(path, "test").empty())) return Kind::parts;
  return Kind::folder;
}

[[noreturn]] void no_such_part(const std::string& path, const std::string& split,
                               const std::vector<std::string>& parts) {
  std::string known;
  for (const std::string& part : parts) known += str(known.empty() ? "" : ", ", part);
  throw Error(ErrorKind::usage, path, str("has no part \"", split, "\""),
              parts.empty() ? "it comes in one piece: divide it with split()" : str("it has ", known));
}

}  // namespace

std::vector<std::string> available_splits(const std::string& path) {
  std::vector<std::string> parts;
  switch (recognise(path)) {
    case Kind::csv: return CsvDataset(path, {.check_files = false}).parts();
    case Kind::pack: return PackDataset(path).parts();
    case Kind::idx:
      for (const char* split : {"train", "test"}) {
        if (IdxDataset::found_in(path, split)) parts.push_back(split);
      }
      return parts;
    case Kind::cifar:
      for (const char* split : {"train", "test"}) {
        if (CifarDataset::found_in(path, split)) parts.push_back(split);
      }
      return parts;
    case Kind::parts:
      for (const char* split : {"train", "val", "test"}) {
        if (!part_folder(path, split).empty()) parts.push_back(split);
      }
      return parts;
    case Kind::coco:
    case Kind::folder: break;
  }
  return parts;
}

DatasetPtr open_dataset(const std::string& path, const std::string& split, const OpenOptions& options) {
  const Kind kind = recognise(path);
  if (kind == Kind::csv) {
    return std::make_shared<CsvDataset>(path, CsvOptions{.class_names = options.class_names,
                                                         .split = split,
                                                         .image_size = options.image_size,
                                                         .decode = options.decode});
  }
  if (kind == Kind::pack) {
    return std::make_shared<PackDataset>(path, PackDatasetOptions{.part = split,
                                                                  .class_names = options.class_names,
                                                                  .image_size = options.image_size,
                                                                  .check_source = true,
                                                                  .group_prefix = options.group_prefix});
  }
  if (kind == Kind::coco) {
    if (!split.empty()) no_such_part(path, split, {});
    return std::make_shared<CocoDataset>(
        path,
        CocoOptions{.class_names = options.class_names, .image_size = options.image_size, .decode = options.decode});
  }
  const std::vector<std::string> parts = available_splits(path);
  if (kind == Kind::folder) {
    if (!split.empty()) no_such_part(path, split, parts);
    return std::make_shared<ImageFolder>(path, ImageFolderOptions{.image_size = options.image_size,
                                                                  .class_names = options.class_names,
                                                                  .group_prefix = options.group_prefix,
                                                                  .decode = options.decode});
  }
  if (split.empty()) {
    OpenOptions same = options;
    std::vector<DatasetPtr> all;
    for (const std::string& part : parts) {
      all.push_back(open_dataset(path, part, same));
      same.class_names = all.front()->class_names();
    }
    return concatenate(std::move(all));
  }
  if (std::find(parts.begin(), parts.end(), split) == parts.end()) no_such_part(path, split, parts);
  if (kind == Kind::idx)
    return std::make_shared<IdxDataset>(IdxDataset::open(path, split, {.class_names = options.class_names}));
  if (kind == Kind::cifar) return std::make_shared<CifarDataset>(path, split);
  ImageFolderOptions folder{.image_size = options.image_size,
                            .class_names = options.class_names,
                            .group_prefix = options.group_prefix,
                            .decode = options.decode};
  if (folder.class_names.empty() && split != "train") {
    folder.class_names = ImageFolder(part_folder(path, "train")).class_names();
  }
  return std::make_shared<ImageFolder>(part_folder(path, split), folder);
}

}  // namespace fovea
