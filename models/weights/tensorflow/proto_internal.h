// Just enough of the protocol buffer encoding to read the messages of a TensorFlow checkpoint.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace fovea::weights::tensorflow {

/// Variable-length integer at `at`, which moves behind it; false if it is cut off or longer than ten bytes.
bool read_varint(std::span<const std::uint8_t> bytes, std::size_t& at, std::uint64_t& value);

/// The fields of a message, one after another:  while (message.next()) switch (message.field()) ...
/// Unknown fields are passed over, as the encoding intends.
class Message {
 public:
  /// `what` names the message in errors.
  Message(std::span<const std::uint8_t> bytes, const std::string& where, const char* what)
      : bytes_(bytes), where_(where), what_(what) {}

  /// False at the end. Error{format} for what is no field.
  bool next();
  std::uint32_t field() const { return field_; }
  /// Error{format} unless the field is of this kind.
  std::uint64_t number() const;
  std::uint32_t fixed32() const;
  std::span<const std::uint8_t> bytes() const;
  std::string_view text() const;

 private:
  [[noreturn]] void damaged() const;

  std::span<const std::uint8_t> bytes_;
  const std::string& where_;
  const char* what_;
  std::size_t at_ = 0;
  std::uint32_t field_ = 0, wire_ = 0;
  std::uint64_t number_ = 0;
  std::span<const std::uint8_t> content_;
};

}  // namespace fovea::weights::tensorflow
