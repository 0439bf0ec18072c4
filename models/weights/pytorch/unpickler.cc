#include <bit>
#include <charconv>
#include <cstring>

#include "core/error.h"
#include "models/weights/pytorch/builder_internal.h"

namespace fovea::weights::pytorch {

namespace {

constexpr std::size_t kMaxStack = 1u << 20;  // picklers write containers in batches of 1000
constexpr std::size_t kMaxMemoGap = 4096;    // picklers number in order, from 0 or 1

class Machine {
 public:
  Machine(std::span<const std::uint8_t> bytes, std::size_t position, Graph& graph, const std::string& where)
      : bytes_(bytes), at_(position), builder_(graph, where) {}

  Value run() {
    for (;;) {
      builder_.at(at_);
      const std::uint8_t opcode = byte();
      if (opcode == '.') {
        const Value result = pop();
        if (!stack_.empty() || !marks_.empty()) damaged("it ends with values left over");
        return result;
      }
      step(opcode);
    }
  }
  std::size_t position() const { return at_; }

 private:
  [[noreturn]] void damaged(const std::string& what) const { builder_.damaged(what); }

  // ---- reading
  std::span<const std::uint8_t> take(std::uint64_t count) {
    if (count > bytes_.size() - at_) damaged("it is cut off");
    const auto part = bytes_.subspan(at_, static_cast<std::size_t>(count));
    at_ += part.size();
    return part;
  }
  std::uint8_t byte() { return take(1)[0]; }
  std::uint64_t number(int width) {
    std::uint64_t value = 0;
    const auto raw = take(static_cast<std::uint64_t>(width));
    std::memcpy(&value, raw.data(), raw.size());
    return value;
  }
  std::string_view line() {
    const auto rest = bytes_.subspan(at_);
    const void* end = rest.empty() ? nullptr : std::memchr(rest.data(), '\n', rest.size());
    if (!end) damaged("it is cut off in a line of text");
    const auto length = static_cast<std::size_t>(static_cast<const std::uint8_t*>(end) - rest.data());
    at_ += length + 1;
    return {reinterpret_cast<const char*>(rest.data()), length};
  }
  Value chars(Kind kind, std::uint64_t length) {
    const auto raw = take(length);
    if (raw.size() > 0xffffffffu) damaged("a text of more than 4 GB");
    Value v;
    v.kind = kind;
    v.length = static_cast<std::uint32_t>(raw.size());
    v.data = reinterpret_cast<const char*>(raw.data());
    return v;
  }

  // ---- stack
  void push(const Value& v) {
    if (stack_.size() >= kMaxStack) damaged(str("more than ", kMaxStack, " values wait on its stack"));
    stack_.push_back(v);
  }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Value pop() {
    if (stack_.size() <= floor()) damaged("it takes a value from an empty stack");
    const Value v = stack_.back();
    stack_.pop_back();
    return v;
  }
  Value& top() {
    if (stack_.size() <= floor()) damaged("it uses a value of an empty stack");
    return stack_.back();
  }
  /// What lies above the last mark. The caller removes it with drop().
  std::span<const Value> since_mark() {
    if (marks_.empty()) damaged("it misses a mark");
    return std::span<const Value>(stack_).subspan(marks_.back());
  }
  void drop() {
    stack_.resize(marks_.back());
    marks_.pop_back();
  }

  // ---- values
  static Value simple(Kind kind, std::int64_t integer = 0) {
    Value v;
    v.kind = kind;
    v.integer = integer;
    return v;
  }
  Value big_integer(std::span<const std::uint8_t> raw) {
    if (raw.size() > 8) return simple(Kind::other);
    std::uint64_t value = !raw.empty() && raw.back() & 0x80 ? ~std::uint64_t{0} : 0;
    std::memcpy(&value, raw.data(), raw.size());
    return simple(Kind::integer, static_cast<std::int64_t>(value));
  }
  Value decimal(std::string_view text) {
    if (text.ends_with('L')) text.remove_suffix(1);
    std::int64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code == std::errc::result_out_of_range) return simple(Kind::other);
    if (code != std::errc() || end != text.data() + text.size()) damaged("an integer that is none");
    return simple(Kind::integer, value);
  }

  // ---- memo
  void remember(std::uint64_t id) {
    if (id > memo_.size() + kMaxMemoGap) damaged(str("memo number ", id, " where ", memo_.size(), " was due"));
    if (id >= memo_.size()) {
      builder_.charge(2 * sizeof(Value) * (static_cast<std::size_t>(id) + 1 - memo_.size()));
      memo_.resize(static_cast<std::size_t>(id) + 1, simple(Kind::other));
    }
    memo_[static_cast<std::size_t>(id)] = top();
  }
  void recall(std::uint64_t id) {
    if (id >= memo_.size()) damaged(str("memo number ", id, " was never set"));
    push(memo_[static_cast<std::size_t>(id)]);
  }

  void step(std::uint8_t opcode);

  std::span<const std::uint8_t> bytes_;
  std::size_t at_;
  Builder builder_;
  std::vector<Value> stack_, memo_;
  std::vector<std::size_t> marks_;
};

void Machine::step(std::uint8_t opcode) {
  switch (opcode) {
    case 0x80: {  // PROTO
      const std::uint8_t protocol = byte();
      if (protocol > 5) damaged(str("pickle protocol ", protocol, " is unknown"));
      return;
    }
    case 0x95:  // FRAME: only a hint how to read ahead
      if (number(8) > bytes_.size() - at_) damaged("it is cut off in a frame");
      return;
    case '(':
      if (marks_.size() >= kMaxStack) damaged("too many marks");
      marks_.push_back(stack_.size());
      return;
    case '0':
      if (stack_.size() == floor() && !marks_.empty()) return marks_.pop_back();
      pop();
      return;
    case '1': since_mark(); return drop();
    case '2': return push(Value(top()));
    case 'N': return push(Value());
    case 0x88: return push(simple(Kind::boolean, 1));
    case 0x89: return push(simple(Kind::boolean, 0));
    case 'I': {
      const std::string_view text = line();
      if (text == "00" || text == "01") return push(simple(Kind::boolean, text == "01"));
      return push(decimal(text));
    }
    case 'L': return push(decimal(line()));
    case 'J': return push(simple(Kind::integer, static_cast<std::int32_t>(number(4))));
    case 'K': return push(simple(Kind::integer, byte()));
    case 'M': return push(simple(Kind::integer, static_cast<std::int64_t>(number(2))));
    case 0x8a: return push(big_integer(take(byte())));
    case 0x8b: {
      const std::uint64_t length = number(4);
      if (length > 0x7fffffff) damaged("an integer of negative length");
      return push(big_integer(take(length)));
    }
    case 'G': {  // big-endian
      std::uint64_t bits = 0;
      for (const std::uint8_t b : take(8)) bits = bits << 8 | b;
      Value v;
      v.kind = Kind::real;
      v.real = std::bit_cast<double>(bits);
      return push(v);
    }
    case 'U':
    case 0x8c: return push(chars(Kind::text, byte()));
    case 'T':
    case 'X': return push(chars(Kind::text, number(4)));
    case 0x8d: return push(chars(Kind::text, number(8)));
    case 'C': return push(chars(Kind::bytes, byte()));
    case 'B': return push(chars(Kind::bytes, number(4)));
    case 0x8e:
    case 0x96: return push(chars(Kind::bytes, number(8)));

    case ')': return push(builder_.container(Kind::tuple));
    case 0x85:
    case 0x86:
    case 0x87: {
      const std::size_t count = opcode - 0x84u;
      if (stack_.size() - floor() < count) damaged("it makes a tuple of an empty stack");
      const Value v = builder_.container(Kind::tuple, std::span<const Value>(stack_).last(count));
      stack_.resize(stack_.size() - count);
      return push(v);
    }
    case 't':
    case 'l':
    case 'd':
    case 0x91: {
      const std::span<const Value> items = since_mark();
      const Value v = opcode == 'd'   ? builder_.dict(items)
                      : opcode == 't' ? builder_.container(Kind::tuple, items)
                      : opcode == 'l' ? builder_.container(Kind::list, items)
                                      : builder_.container(Kind::set, items);
      drop();
      return push(v);
    }
    case ']': return push(builder_.container(Kind::list));
    case '}': return push(builder_.container(Kind::dict));
    case 0x8f: return push(builder_.container(Kind::set));
    case 'a': {
      const Value item = pop();
      return builder_.append(top(), {&item, 1});
    }
    case 's': {
      Value pair[2];
      pair[1] = pop();
      pair[0] = pop();
      return builder_.set_items(top(), pair);
    }
    case 'e':
    case 0x90:
    case 'u': {
      const std::span<const Value> items = since_mark();
      const std::size_t below = marks_.back();
      if (below <= (marks_.size() > 1 ? marks_[marks_.size() - 2] : 0)) damaged("it fills no container");
      const Value target = stack_[below - 1];
      opcode == 'u' ? builder_.set_items(target, items) : builder_.append(target, items);
      return drop();
    }

    case 'q': return remember(byte());
    case 'r': return remember(number(4));
    case 0x94: return remember(memo_.size());
    case 'h': return recall(byte());
    case 'j': return recall(number(4));

    case 'c': {
      const std::string_view module = line();
      const std::string_view name = line();
      return push(builder_.global(module, name));
    }
    case 0x93: {
      const Value name = pop();
      const Value module = pop();
      if (!name.is_text() || !module.is_text()) damaged("a name that is no text");
      return push(builder_.global(module.text(), name.text()));
    }
    case 'R':
    case 0x81: {
      const Value arguments = pop();
      const Value function = pop();
      return push(opcode == 'R' ? builder_.call(function, arguments) : builder_.instance(function, arguments));
    }
    case 0x92: {
      pop();  // keyword arguments
      const Value arguments = pop();
      const Value type = pop();
      return push(builder_.instance(type, arguments));
    }
    case 'o':
    case 'i': {  // instances of Python 2's old classes
      Value type;
      if (opcode == 'i') {
        const std::string_view module = line();
        type = builder_.global(module, line());
      } else {
        if (since_mark().empty()) damaged("an instance without a class");
        type = since_mark()[0];
      }
      since_mark();
      drop();
      return push(builder_.object(type));
    }
    case 'b': {
      const Value state = pop();
      return builder_.build(top(), state);
    }
    case 'Q': return push(builder_.persistent(pop()));
    default: damaged(str("opcode ", opcode, " is not one that torch.save writes"));
  }
}

}  // namespace

Value unpickle(std::span<const std::uint8_t> bytes, std::size_t& position, Graph& graph, const std::string& where) {
  if (position > bytes.size()) throw Error(ErrorKind::format, where, "damaged pickle: it begins behind the file's end");
  Machine machine(bytes, position, graph, where);
  const Value result = machine.run();
  position = machine.position();
  return result;
}

}  // namespace fovea::weights::pytorch
