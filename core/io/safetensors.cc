#include "core/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/io/file.h"

namespace fovea {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

namespace {

constexpr std::size_t kMaxHeader = 100'000'000;  // the format's own limit

struct TypeName {
  const char* name;
  DType dtype;
};
constexpr TypeName kTypes[] = {{"F64", DType::f64},   {"F32", DType::f32}, {"F16", DType::f16},
                               {"BF16", DType::bf16}, {"I64", DType::i64}, {"I32", DType::i32},
                               {"I8", DType::i8},     {"U8", DType::u8},   {"BOOL", DType::u8}};

const char* type_name(DType dtype) {
  for (const TypeName& t : kTypes) {
    if (t.dtype == dtype) return t.name;
  }
  return "?";
}

struct Entry {
  std::string name;
  TensorSpec spec;
  std::uint64_t begin, end;
};

Entry parse_entry(const std::string& name, const json& item, const auto& malformed) {
  if (!item.is_object()) malformed(str("tensor '", name, "' is not described by an object"));
  Entry entry;
  entry.name = name;
  const std::string type = item.at("dtype").get<std::string>();
  const auto* known =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeName& t) { return type == t.name; });
  if (known == std::end(kTypes)) malformed(str("tensor '", name, "' has the unsupported element type '", type, "'"));
  entry.spec.dtype = known->dtype;
  std::vector<std::int64_t> dims;
  for (const json& extent : item.at("shape")) {
    if (!extent.is_number_unsigned()) malformed(str("tensor '", name, "' has an extent that is no natural number"));
    dims.push_back(extent.get<std::int64_t>());
  }
  entry.spec.shape = Shape(std::span<const std::int64_t>(dims));
  const json& offsets = item.at("data_offsets");
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    malformed(str("tensor '", name, "' needs data_offsets [begin, end]"));
  }
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  return entry;
}

}  // namespace

Tensor Safetensors::find(std::string_view name) const {
  for (const auto& [key, tensor] : tensors) {
    if (key == name) return tensor;
  }
  return {};
}

const std::string* Safetensors::find_metadata(std::string_view key) const {
  for (const auto& [name, value] : metadata) {
    if (name == key) return &value;
  }
  return nullptr;
}

SafetensorsIndex index_safetensors(std::span<std::uint8_t> bytes, const std::string& where) {
  const auto malformed = [&](const std::string& what) {
    throw Error(ErrorKind::format, where, str("not a valid safetensors file: ", what));
  };
  if (bytes.size() < 8) malformed(str("it has ", bytes.size(), " bytes, the header alone needs 8"));
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), 8);
  if (header_size > kMaxHeader || header_size > bytes.size() - 8) {
    malformed(str("its header claims ", header_size, " bytes, the file has ", bytes.size()));
  }
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + 8;
  const std::span<std::uint8_t> data = bytes.subspan(8 + static_cast<std::size_t>(header_size));
  if (header_size == 0 || *text != '{') malformed("the header is no JSON object");
  SafetensorsIndex result;
  std::vector<Entry> entries;
  try {
    // nlohmann keeps the last of two equal keys silently; this callback refuses them, of tensors and within one.
    std::set<std::string> names, fields;
    bool duplicate = false;
    const json header = json::parse(text, text + header_size, [&](int depth, json::parse_event_t event, json& parsed) {
      if (event != json::parse_event_t::key || depth > 2) return true;
      if (depth == 1) fields.clear();
      duplicate |= !(depth == 1 ? names : fields).insert(parsed.get<std::string>()).second;
      return true;
    });
    if (duplicate) malformed("a name occurs twice");
    for (const auto& [name, item] : header.items()) {
      if (name == "__metadata__") {
        if (!item.is_object()) malformed("__metadata__ is no object");
        for (const auto& [key, value] : item.items()) result.metadata.emplace_back(key, value.get<std::string>());
      } else {
        entries.push_back(parse_entry(name, item, malformed));
      }
    }
  } catch (const json::exception& e) {
    malformed(e.what());
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t position = 0;
  for (const Entry& entry : entries) {
    const std::int64_t size =
        checked_mul(entry.spec.shape.numel(), static_cast<std::int64_t>(dtype_size(entry.spec.dtype)), where.c_str());
    if (entry.begin != position || entry.end < entry.begin ||
        entry.end - entry.begin != static_cast<std::uint64_t>(size)) {
      malformed(str("tensor '", entry.name, "' (", size, " bytes) has offsets ", entry.begin, " to ", entry.end,
                    ", expected ", position, " to ", position + static_cast<std::uint64_t>(size)));
    }
    if (entry.end > data.size()) {
      malformed(str("tensor '", entry.name, "' ends at byte ", entry.end, ", the file has data for ", data.size(),
                    "; it may have been cut off"));
    }
    position = entry.end;
    result.entries.push_back(
        {entry.name, entry.spec, data.subspan(static_cast<std::size_t>(entry.begin), static_cast<std::size_t>(size))});
  }
  if (position != data.size()) malformed(str("its tensors end at byte ", position, ", its data at ", data.size()));
  return result;
}

namespace {

/// owner_of(bytes) keeps these bytes of the file alive.
template <class OwnerOf>
Safetensors tensors_of(SafetensorsIndex index, OwnerOf owner_of) {
  Safetensors result;
  result.metadata = std::move(index.metadata);
  for (const SafetensorsIndex::Entry& entry : index.entries) {
    std::uint8_t* at = entry.bytes.data();
    if (reinterpret_cast<std::uintptr_t>(at) % dtype_size(entry.spec.dtype) == 0) {
      result.tensors.emplace_back(entry.name,
                                  Tensor::borrow(at, entry.spec.shape, entry.spec.dtype, owner_of(entry.bytes)));
    } else {
      Tensor copy(entry.spec);
      std::memcpy(copy.mutable_view().data, at, copy.nbytes());
      result.tensors.emplace_back(entry.name, std::move(copy));
    }
  }
  return result;
}

/// A tensor's part of a file. What loads a network copies or packs one tensor after the other: with each that is done,
/// its pages go, and the file's content is never there twice.
struct Part {
  std::shared_ptr<const MappedFile> file;
  std::span<const std::uint8_t> bytes;
  Part(std::shared_ptr<const MappedFile> f, std::span<const std::uint8_t> b) : file(std::move(f)), bytes(b) {}
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
  ~Part() { file->forget(bytes); }
};
constexpr std::size_t kLargePart = 64 << 10;

}  // namespace

Safetensors parse_safetensors(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner,
                              const std::string& where) {
  return tensors_of(index_safetensors(bytes, where), [&](std::span<const std::uint8_t>) { return owner; });
}

Safetensors read_safetensors(const std::string& path) {
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  return tensors_of(index_safetensors(file->bytes(), path),
                    [&](std::span<const std::uint8_t> part) -> std::shared_ptr<const void> {
                      if (part.size() < kLargePart) return file;
                      return std::make_shared<const Part>(file, part);
                    });
}

void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::vector<std::pair<std::string, std::string>>& metadata) {
  std::vector<const std::pair<std::string, Tensor>*> order;
  std::set<std::string_view> names;
  for (const auto& item : tensors) {
    if (!names.insert(item.first).second)
      throw Error(ErrorKind::usage, path, str("two tensors are named '", item.first, "'"));
    order.push_back(&item);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return dtype_size(a->second.dtype()) > dtype_size(b->second.dtype());
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    auto& fields = header["__metadata__"] = nlohmann::ordered_json::object();
    for (const auto& [key, value] : metadata) fields[key] = value;
  }
  std::uint64_t position = 0;
  for (const auto* item : order) {
    const Tensor& t = item->second;
    header[item->first] = {{"dtype", type_name(t.dtype())},
                           {"shape", std::vector<std::int64_t>(t.shape().begin(), t.shape().end())},
                           {"data_offsets", {position, position + t.nbytes()}}};
    position += t.nbytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    throw Error(ErrorKind::usage, path, "a name or metadata text is not valid UTF-8");
  }
  text.resize((text.size() + 8 + 63) / 64 * 64 - 8, ' ');  // data starts on a cache line
  const std::uint64_t header_size = text.size();
  AtomicFile file(path);
  file.write(&header_size, 8);
  file.write(text);
  for (const auto* item : order) {
    const Tensor host = item->second.to(kCpu);
    file.write(host.view().data, host.nbytes());
  }
  file.commit();
}

}  // namespace fovea
