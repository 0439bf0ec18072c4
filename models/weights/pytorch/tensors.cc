#include "models/weights/pytorch/tensors_internal.h"

#include <algorithm>
#include <atomic>

#include "core/error.h"
#include "models/weights/checksum_internal.h"
#include "models/weights/raw_tensor_internal.h"

namespace fovea::weights::pytorch {
namespace {

/// Files of a few bytes may hold tensors that expand one element; torch writes such for broadcast constants.
constexpr std::size_t kFreeExpansion = 16u << 20;

/// Row-major without gaps, as far as the strides matter (an axis of extent 1 has any).
bool is_dense(const Shape& shape, const std::vector<std::int64_t>& strides) {
  if (shape.numel() == 0) return true;
  std::int64_t expected = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    if (shape[axis] != 1 && strides[static_cast<std::size_t>(axis)] != expected) return false;
    expected *= shape[axis];
  }
  return true;
}

/// Product of the extents, or nothing beyond 2^62.
std::optional<std::int64_t> count_of(const std::vector<std::int64_t>& sizes) {
  std::int64_t count = 1;
  if (std::find(sizes.begin(), sizes.end(), 0) != sizes.end()) return 0;
  for (const std::int64_t size : sizes) {
    if (__builtin_mul_overflow(count, size, &count) || count > (std::int64_t{1} << 62)) return std::nullopt;
  }
  return count;
}

}  // namespace

struct TensorMaker::Storage {
  StorageBytes content;
  std::string_view type_name;
  std::int64_t numel = 0;
  std::atomic<int> verdict{0};  // 0: not checked yet, 1: good, 2: bad. Two threads may both check; they agree.

  bool intact() {
    if (!content.crc) return true;
    int known = verdict.load(std::memory_order_relaxed);
    if (known == 0) {
      known = crc32(content.bytes) == *content.crc ? 1 : 2;
      verdict.store(known, std::memory_order_relaxed);
    }
    return known == 1;
  }
};

TensorMaker::TensorMaker(const Graph& graph, Source source, FindStorage find)
    : graph_(graph), source_(std::make_shared<const Source>(std::move(source))), find_(std::move(find)) {}
TensorMaker::~TensorMaker() = default;

void TensorMaker::damaged(const std::string& name, const std::string& what) const {
  throw Error(ErrorKind::format, source_->where, str("tensor '", name, "' ", what));
}

std::shared_ptr<TensorMaker::Storage> TensorMaker::storage_of(const std::string& name, const StorageRecord& record) {
  std::shared_ptr<Storage>& slot = storages_[record.key];
  if (!slot) {
    const auto made = std::make_shared<Storage>();
    made->content = find_(record.key);
    made->type_name = record.type_name;
    made->numel = record.numel;
    std::int64_t bytes = 0;
    if (__builtin_mul_overflow(record.numel, record.element_bytes, &bytes) ||
        static_cast<std::uint64_t>(bytes) != made->content.bytes.size()) {
      damaged(name, str("has a storage of ", record.numel, " elements of ", record.element_bytes,
                        " bytes, the file holds ", made->content.bytes.size(), " bytes for it"));
    }
    slot = made;
  } else if (slot->numel != record.numel || slot->type_name != record.type_name) {
    damaged(name, str("has the storage '", record.key, "' as ", record.numel, " elements of ", record.type_name,
                      ", another tensor has it as ", slot->numel, " of ", slot->type_name));
  }
  return slot;
}

FileTensor TensorMaker::make(const std::string& name, const TensorRecord& record) {
  FileTensor result;
  result.name = name;
  result.dtype = dtype_of_element(record.element);
  std::string unsupported = record.unsupported;
  if (record.sizes.size() > static_cast<std::size_t>(Shape::kMaxRank)) {
    unsupported = str("has ", record.sizes.size(), " axes, ", Shape::kMaxRank, " are supported");
  }
  const std::optional<std::int64_t> count = count_of(record.sizes);
  if (!count) damaged(name, "has more elements than can be addressed");
  if (!unsupported.empty()) {
    if (record.sizes.size() <= static_cast<std::size_t>(Shape::kMaxRank)) result.shape = Shape(record.sizes);
    result.read = [name, unsupported, source = source_]() -> Tensor {
      throw Error(ErrorKind::format, source->where, str("tensor '", name, "' ", unsupported),
                  "convert it in PyTorch (.to_dense(), .dequantize(), .float()) and save again");
    };
    return result;
  }

  RawTensor raw;
  raw.shape = result.shape = Shape(record.sizes);
  raw.element = record.element;
  raw.big_endian = source_->big_endian;
  raw.dense = is_dense(raw.shape, record.strides);
  std::copy(record.strides.begin(), record.strides.end(), raw.strides.begin());

  const StorageRecord& described = graph_.storages[static_cast<std::size_t>(record.storage)];
  const std::shared_ptr<Storage> storage = storage_of(name, described);
  const std::int64_t size = element_size(record.element);
  std::int64_t first = record.offset;  // of the whole storage, in elements
  std::int64_t available = static_cast<std::int64_t>(storage->content.bytes.size()) / size;
  if (!described.view_of.empty()) {
    if (__builtin_add_overflow(first, described.view_offset, &first)) first = -1;
    available = described.view_offset + described.view_numel;
  }
  // The last element's place: every sum and product is checked, since all of them come from the file.
  std::int64_t last = first;
  bool fits = first >= 0;
  for (std::size_t axis = 0; axis < record.sizes.size() && *count > 0; ++axis) {
    std::int64_t reach = 0;
    fits = fits && !__builtin_mul_overflow(record.sizes[axis] - 1, record.strides[axis], &reach) &&
           !__builtin_add_overflow(last, reach, &last);
  }
  if (!fits || (*count > 0 && last >= available)) {
    damaged(name, str(raw.shape, " from element ", record.offset, " on reaches beyond its storage of ", available));
  }
  if (*count > 0) raw.data = storage->content.bytes.data() + first * size;
  if (*count > 0 && raw.needs_copy()) {
    // sizes and strides may repeat elements without end; what the file holds bounds what is sensible.
    const std::size_t limit = 2 * source_->file_size + kFreeExpansion;
    if (static_cast<std::uint64_t>(*count) > limit / static_cast<std::uint64_t>(size) ||
        static_cast<std::size_t>(*count * size) > limit - expanded_) {
      damaged(name, str(raw.shape, " repeats elements to more memory than a file of ", source_->file_size,
                        " bytes accounts for"));
    }
    expanded_ += static_cast<std::size_t>(*count * size);
  }
  result.read = [raw, storage, name, source = source_] {
    if (!storage->intact()) {
      throw Error(ErrorKind::format, source->where, str("tensor '", name, "' is damaged: its checksum does not match"),
                  "copy or download the file again");
    }
    return raw.read(source->owner);
  };
  return result;
}

}  // namespace fovea::weights::pytorch
