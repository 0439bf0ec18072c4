#include <cstring>

#include "core/error.h"
#include "models/weights/tensorflow/proto_internal.h"

namespace fovea::weights::tensorflow {
namespace {
constexpr std::uint32_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;
}  // namespace

bool read_varint(std::span<const std::uint8_t> bytes, std::size_t& at, std::uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 70 && at < bytes.size(); shift += 7) {
    const std::uint64_t part = bytes[at++];
    if (shift == 63 && part > 1) return false;
    value |= (part & 0x7f) << shift;
    if (part < 0x80) return true;
  }
  return false;
}

void Message::damaged() const { throw Error(ErrorKind::format, where_, str("damaged ", what_, " in the checkpoint")); }

bool Message::next() {
  if (at_ == bytes_.size()) return false;
  std::uint64_t tag = 0;
  if (!read_varint(bytes_, at_, tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) damaged();
  field_ = static_cast<std::uint32_t>(tag >> 3);
  wire_ = static_cast<std::uint32_t>(tag & 7);
  std::uint64_t size = 0;
  switch (wire_) {
    case kVarint:
      if (!read_varint(bytes_, at_, number_)) damaged();
      return true;
    case kFixed64: size = 8; break;
    case kFixed32: size = 4; break;
    case kBytes:
      if (!read_varint(bytes_, at_, size)) damaged();
      break;
    default: damaged();
  }
  if (size > bytes_.size() - at_) damaged();
  content_ = bytes_.subspan(at_, static_cast<std::size_t>(size));
  at_ += content_.size();
  return true;
}

std::uint64_t Message::number() const {
  if (wire_ != kVarint) damaged();
  return number_;
}

std::uint32_t Message::fixed32() const {
  if (wire_ != kFixed32) damaged();
  std::uint32_t value = 0;
  std::memcpy(&value, content_.data(), sizeof value);
  return value;
}

std::span<const std::uint8_t> Message::bytes() const {
  if (wire_ != kBytes) damaged();
  return content_;
}

std::string_view Message::text() const {
  const auto raw = bytes();
  return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}

}  // namespace fovea::weights::tensorflow
