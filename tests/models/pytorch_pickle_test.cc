// PyTorch files assembled by hand: what the golden files do not show (old Pythons, whole networks, odd types,
// wrappers), and what no good program writes.
#include <cstdio>
#include <fstream>

#include "catch.h"
#include "models/weight_file_writer.h"

using namespace fovea;
using namespace writer;
using namespace std::string_literals;
using weights::FileTensor;
using weights::WeightFile;

namespace {

const std::string kSix = floats({1, 2, 3, 4, 5, 6});

std::string six(const std::string& key = "0") { return storage("FloatStorage", key, 6); }
std::string matrix(const std::string& key = "0") { return tensor(six(key), 0, {2, 3}, {3, 1}); }

std::vector<double> values(const WeightFile& file, const std::string& name) {
  const FileTensor* t = file.find(name);
  REQUIRE(t);
  return t->read().to_vector<double>();
}
std::vector<std::string> names(const WeightFile& file) {
  std::vector<std::string> all;
  for (const FileTensor& t : file.tensors) all.push_back(t.name);
  return all;
}
std::string metadata(const WeightFile& file, const std::string& key) {
  const std::string* value = file.find_metadata(key);
  return value ? *value : "";
}
/// The error of a pickle whose storage "0" holds six floats.
std::string refused(const std::string& body) {
  return error_of([&] {
    const WeightFile file = read_zip(pytorch_zip(body, {{"0", kSix}}));
    for (const FileTensor& t : file.tensors) t.read();
  });
}
std::string repeat(const std::string& part, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += part;
  return all;
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("pickles: both containers give the values, strided or not, and views where they can") {
  const std::string body = dict({{"a", matrix()},
                                 {"transposed", tensor(six(), 0, {3, 2}, {1, 3})},
                                 {"slice", tensor(six(), 2, {3}, {1})},
                                 {"column", tensor(six(), 1, {2, 1}, {3, 7})},
                                 {"repeated", tensor(six(), 5, {2, 2}, {0, 0})},
                                 {"empty", tensor(six(), 6, {0, 4}, {1, 1})},
                                 {"scalar", tensor(six(), 4, {}, {})}});
  for (const bool zipped : {true, false}) {
    CAPTURE(zipped);
    const WeightFile file =
        zipped ? read_zip(pytorch_zip(body, {{"0", kSix}})) : read_old(pytorch_old(body, {{"0", kSix}}));
    CHECK(values(file, "a") == std::vector<double>{1, 2, 3, 4, 5, 6});
    CHECK(values(file, "transposed") == std::vector<double>{1, 4, 2, 5, 3, 6});
    CHECK(values(file, "slice") == std::vector<double>{3, 4, 5});
    CHECK(values(file, "column") == std::vector<double>{2, 5});
    CHECK(values(file, "repeated") == std::vector<double>{6, 6, 6, 6});
    CHECK(values(file, "empty").empty());
    CHECK(file.find("empty")->shape == Shape{0, 4});
    CHECK(values(file, "scalar") == std::vector<double>{5});
  }
  // Dense and aligned: the tensor is the file's own memory.
  const Memory memory(pytorch_zip(body, {{"0", kSix}}));
  const WeightFile file = weights::parse_pytorch_zip(*memory.bytes, memory.bytes, "test");
  const auto inside = [&](const char* name) {
    const auto* at = static_cast<const std::uint8_t*>(file.find(name)->read().view().data);
    return at >= memory.bytes->data() && at < memory.bytes->data() + memory.bytes->size();
  };
  CHECK(inside("a"));
  CHECK(inside("slice"));
  CHECK_FALSE(inside("transposed"));
}

TEST_CASE("pickles: element types") {
  const auto one = [](const char* type, std::int64_t count, const std::string& bytes) {
    return read_zip(pytorch_zip(dict({{"w", tensor(storage(type, "0", count), 0, {count}, {1})}}), {{"0", bytes}}));
  };
  using Values = std::vector<double>;
  CHECK(values(one("DoubleStorage", 2, little(1.5) + little(-2.0)), "w") == Values{1.5, -2});
  CHECK(values(one("HalfStorage", 1, little(std::uint16_t{0x3e00})), "w") == Values{1.5});
  CHECK(values(one("BFloat16Storage", 1, little(std::uint16_t{0x3fc0})), "w") == Values{1.5});
  CHECK(
      values(one("ShortStorage", 3, little<std::int16_t>(-3) + little<std::int16_t>(9) + little<std::int16_t>(-32768)),
             "w") == Values{-3, 9, -32768});
  CHECK(values(one("CharStorage", 2, "\xff\x02"), "w") == Values{-1, 2});
  CHECK(values(one("ByteStorage", 2, "\xff\x02"), "w") == Values{255, 2});
  CHECK(values(one("BoolStorage", 2, std::string("\1\0", 2)), "w") == Values{1, 0});
  CHECK(values(one("IntStorage", 1, little(-70000)), "w") == Values{-70000});
  CHECK(values(one("LongStorage", 1, little(std::int64_t{1} << 40)), "w") == Values{1099511627776.0});
  // Big-endian machines say so in the archive.
  const std::string big("\x3f\xc0\0\0\x40\0\0\0", 8);
  CHECK(values(read_zip(pytorch_zip(dict({{"w", tensor(storage("FloatStorage", "0", 2), 0, {2}, {1})}}), {{"0", big}},
                                    "big")),
               "w") == Values{1.5, 2});
}

TEST_CASE("pickles: tensors without plain values are listed, and refused by name when they are read") {
  const std::string complex = tensor(storage("ComplexFloatStorage", "1", 3), 0, {3}, {1});
  const std::string quantized = call(global("torch._utils", "_rebuild_qtensor"),
                                     {storage("QInt8Storage", "2", 6), byte(0), tuple_of({6}), tuple_of({1}), "N"});
  const std::string sparse = call(global("torch._utils", "_rebuild_sparse_tensor"), {"N", ")"});
  const std::string newer =
      call(global("torch._utils", "_rebuild_tensor_v3"), {storage("UntypedStorage", "3", 6), byte(0), tuple_of({3}),
                                                          tuple_of({1}), "\x89", "N", global("torch", "uint16"), "N"});
  const std::string plain_v3 =
      call(global("torch._utils", "_rebuild_tensor_v3"), {storage("UntypedStorage", "4", 24), byte(1), tuple_of({5}),
                                                          tuple_of({1}), "\x89", "N", global("torch", "float32"), "N"});
  const std::string pickled = tensor(call(global("torch.storage", "_load_from_bytes"), {"C\3abc"}), 0, {6}, {1});
  std::vector<std::int64_t> nine(9, 1);
  const std::string body = dict({{"a", matrix()},
                                 {"complex", complex},
                                 {"quantized", quantized},
                                 {"sparse", sparse},
                                 {"newer", newer},
                                 {"v3", plain_v3},
                                 {"pickled", pickled},
                                 {"nine", tensor(six(), 0, nine, nine)}});
  const WeightFile file = read_zip(
      pytorch_zip(body, {{"0", kSix}, {"1", std::string(24, 'c')}, {"2", "abcdef"}, {"3", "abcdef"}, {"4", kSix}}));
  CHECK(file.tensors.size() == 8);
  CHECK(values(file, "v3") == std::vector<double>{2, 3, 4, 5, 6});
  CHECK(file.find("complex")->shape == Shape{3});
  for (const char* name : {"complex", "quantized", "sparse", "newer", "pickled", "nine"}) {
    CAPTURE(name);
    CHECK(has(error_of([&] { file.find(name)->read(); }), str("tensor '", name, "'")));
  }
  CHECK(has(error_of([&] { file.find("complex")->read(); }), "ComplexFloatStorage"));
}

TEST_CASE("pickles: where the weights are in a checkpoint") {
  const auto read = [](const std::string& body) { return read_zip(pytorch_zip(body, {{"0", kSix}, {"1", kSix}})); };
  const std::string sd = dict({{"w", matrix()}});
  struct Case {
    std::string body, wrapper, prefix;
  };
  for (const auto& [body, wrapper, prefix] : std::vector<Case>{
           {dict({{"epoch", byte(3)}, {"state_dict", sd}}), "state_dict", ""},
           {dict({{"model_state_dict", sd}, {"best", matrix("1")}}), "model_state_dict", ""},
           {dict({{"net", sd}, {"model", byte(1)}}), "net", ""},
           {dict({{"model", sd}, {"model_ema", dict({{"w", matrix("1")}})}}), "model_ema", ""},
           {dict({{"ema", dict({{"decay", "G\x3f\xf0\0\0\0\0\0\0"s}, {"module", sd}})}, {"model", sd}}), "ema.module",
            ""},
           {dict({{"ema", dict({{"decay", byte(1)}})}, {"model", sd}}), "model", ""},
           {dict({{"backbone", sd}, {"epoch", byte(1)}}), "backbone", ""},
           {dict({{"module.w", matrix()}}), "", "module."},
           {dict({{"_orig_mod.module.w", matrix()}}), "", "_orig_mod.module."},
           {dict({{"model_ema",
                   dict({{"n_averaged", tensor(storage("LongStorage", "9", 1), 0, {}, {})}, {"module.w", matrix()}})}}),
            "model_ema", "module."},
           {dict({{"w", matrix()}, {"_extra_state", "N"}, {"note", text("hello")}}), "", ""},
       }) {
    CAPTURE(wrapper, prefix);
    const WeightFile file = read(body);
    CHECK(names(file) == Names{"w"});
    CHECK(metadata(file, "pytorch.wrapper") == wrapper);
    CHECK(metadata(file, "pytorch.prefix") == prefix);
  }
  // A prefix that not all names have is a part of the names.
  CHECK(names(read(dict({{"module.w", matrix()}, {"head.w", matrix()}}))) == Names{"module.w", "head.w"});

  CHECK(has(error_of([&] { read(dict({{"backbone", sd}, {"head", sd}})); }), "'backbone', 'head'"));
  CHECK(has(error_of([&] { read(dict({{"epoch", byte(3)}, {"args", "N"}})); }), "2 entries (epoch, args)"));
  CHECK(has(error_of([&] { read(matrix()); }), "a single tensor"));
  CHECK(has(error_of([&] { read("](K\1K\2e"); }), "a list of 2"));
  CHECK(has(error_of([&] { read(call(global("my.code", "Net"), {})); }), "the class my.code.Net"));
  CHECK(has(error_of([&] { read(dict({{"w", matrix()}, {"w", matrix()}})); }), "occurs twice"));
}

TEST_CASE("pickles: a network that was pickled whole gives what its state_dict would hold") {
  const auto module = [](const std::string& name, const std::string& parameters, const std::string& buffers,
                         const std::string& modules, const std::string& more = "") {
    return global("net", name) + ")\x81}(" + text("training") + "\x89" + text("_parameters") + parameters +
           text("_buffers") + buffers + text("_modules") + modules + more + "ub";
  };
  const auto parameter = [](const std::string& data) {
    return call(global("torch._utils", "_rebuild_parameter"),
                {data, "\x88", global("collections", "OrderedDict") + ")R"});
  };
  // A set has opcodes since protocol 4 and is a call of its class before.
  for (const std::string& set :
       {"\x8f(" + text("scratch") + "\x90", call(global("__builtin__", "set"), {"](" + text("scratch") + "e"})}) {
    const std::string body =
        module("Net", "}", "}",
               dict({{"conv", module("Conv", dict({{"weight", parameter(matrix())}, {"bias", "N"}}), "}", "}")},
                     {"bn", module("Norm", "}", dict({{"mean", tensor(six(), 0, {6}, {1})}, {"scratch", matrix()}}),
                                   "}", text("_non_persistent_buffers_set") + set)}}));
    for (const std::string& whole : {body, dict({{"epoch", byte(1)}, {"model", body}})}) {
      const WeightFile file = read_zip(pytorch_zip(whole, {{"0", kSix}}));
      CHECK(names(file) == Names{"conv.weight", "bn.mean"});
      CHECK(metadata(file, "pytorch.module") == "net.Net");
    }
  }
  // torch before 1.6 kept the class's source beside it.
  const std::string with_source = "(" + text("module") + global("net", "Net") + text("net.py") +
                                  text("class Net: ...") + "tQ)\x81}(" + text("_parameters") +
                                  dict({{"weight", matrix()}}) + text("_buffers") + "}" + text("_modules") + "}ub";
  CHECK(names(read_old(pytorch_old(with_source, {{"0", kSix}}))) == Names{"weight"});
  // TorchScript: attributes are parameters and modules.
  const std::string script = global("__torch__.net", "Net") + ")\x81}(" + text("training") + "\x89" + text("weight") +
                             matrix() + text("inner") + global("__torch__.net", "Inner") + ")\x81}(" + text("bias") +
                             tensor(six(), 3, {2}, {1}) + "ubub";
  CHECK(names(read_zip(pytorch_zip(script, {{"0", kSix}}))) == Names{"weight", "inner.bias"});

  // A module within itself, and 2^60 ways to one module.
  const std::string own = global("net", "Net") + ")\x81q\1}(" + text("_parameters") + dict({{"w", matrix()}}) +
                          text("_modules") + "}" + text("m") + "h\1sub";
  CHECK(has(refused(own), "contain themselves"));
  std::string bomb = module("Leaf", "}", "}", "}");
  for (int i = 0; i < 60; ++i) {
    const std::string id(1, static_cast<char>(i));
    bomb = bomb + "q" + id + "0" + module("M", "}", "}", dict({{"a", "h" + id}, {"b", "h" + id}}));
  }
  CHECK(has(refused(bomb), "nested without end"));
}

TEST_CASE("pickles: what Python 2 and other protocols wrote") {
  // OrderedDict([[key, value]]) with byte strings, an integer as text.
  const std::string python2 = global("collections", "OrderedDict") + "(](](U\1w" +
                              call(global("torch._utils", "_rebuild_tensor"),
                                   {"(U\7storage" + global("torch", "FloatStorage") + "U\0010U\3cpuI6\ntQ", "I0\n",
                                    "(L2L\nL3L\nt", "(I3\nI1\nt"}) +
                              "eetR";
  CHECK(values(read_zip(pytorch_zip(python2, {{"0", kSix}})), "w") == std::vector<double>{1, 2, 3, 4, 5, 6});
  // Protocol 4: frames, short texts, memoized names.
  std::string four = std::string("\x95\1\0\0\0\0\0\0\0", 9) + "}\x94(\x8c\1w" +
                     "\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x93\x94(" +
                     "(\x8c\7storage\x8c\5torch\x8c\x0c"
                     "FloatStorage\x93\x8c\0010\x8c\3cpuK\6tQK\1K\2\x85K\1\x85\x89Nt" +
                     "Ru";
  CHECK(values(read_zip(pytorch_zip(four, {{"0", kSix}})), "w") == std::vector<double>{2, 3});
  // A storage that is a view of another: torch 0.1 to 0.3.
  const std::string view =
      tensor(storage("FloatStorage", "0", 6, tuple({text("v"), long_integer(2), long_integer(3)})), 1, {2}, {1});
  CHECK(values(read_old(pytorch_old(dict({{"w", view}}), {{"0", kSix}})), "w") == std::vector<double>{4, 5});
  const std::string beyond =
      tensor(storage("FloatStorage", "0", 6, tuple({text("v"), long_integer(2), long_integer(3)})), 1, {3}, {1});
  CHECK(has(error_of([&] { read_old(pytorch_old(dict({{"w", beyond}}), {{"0", kSix}})); }), "beyond its storage"));
}

TEST_CASE("pickles: nothing is called, and what is unknown is passed over") {
  const std::string system = call(global("os", "system"), {text("touch /tmp/fovea-pickle-was-executed")});
  const std::string body =
      dict({{"w", matrix()},
            {"args", global("argparse", "Namespace") + ")\x81}(" + text("lr") + byte(1) + "ub"},
            {"evil", system},
            {"partial", call(call(global("functools", "partial"), {system}), {})},
            {"array", call(global("numpy.core.multiarray", "_reconstruct"), {"N", tuple({byte(0)}), "C\1b"}) +
                          tuple({byte(1), "N"}) + "b"},
            {"huge", "\x8a\x09\0\0\0\0\0\0\0\0\1"s},
            {"rng", tuple({"N", "B\3\0\0\0abc"s, "\x8e\1\0\0\0\0\0\0\0z"s})},
            {"set", "\x8f(" + text("a") + "\x90"},
            {"frozen", "(" + text("a") + "\x91"},
            {"old class", "(i__main__\nThing\n}b"},
            {"old class too", "(" + global("__main__", "Thing") + byte(1) + "o}b"},
            {"device", call(global("torch", "device"), {text("cpu")})},
            {"dtype", global("torch", "float32")},
            {"size", call(global("torch", "Size"), {tuple_of({2, 3})})},
            {"counts", call(global("collections", "defaultdict"), {global("builtins", "list")})}});
  const std::string witness = "/tmp/fovea-pickle-was-executed";
  std::remove(witness.c_str());
  const WeightFile file = read_zip(pytorch_zip(body, {{"0", kSix}}));
  CHECK(names(file) == Names{"w"});
  CHECK_FALSE(std::ifstream(witness).good());
}

TEST_CASE("pickles: hostile ones end in an error that says where") {
  const auto sized = [](std::int64_t offset, std::vector<std::int64_t> sizes, std::vector<std::int64_t> strides) {
    return refused(dict({{"w", tensor(six(), offset, sizes, strides)}}));
  };
  constexpr std::int64_t kMost = 0x7fffffffffffffff;
  CHECK(has(sized(0, {7}, {1}), "beyond its storage"));
  CHECK(has(sized(1, {6}, {1}), "beyond its storage"));
  CHECK(has(sized(0, {2, 3}, {4, 1}), "beyond its storage"));
  CHECK(has(sized(kMost, {1}, {1}), "beyond its storage"));
  CHECK(has(sized(1, {2}, {kMost}), "beyond its storage"));
  CHECK(has(sized(0, {3, 3}, {kMost / 2, kMost / 2}), "beyond its storage"));
  CHECK(has(sized(0, {kMost, kMost}, {0, 0}), "more elements than can be addressed"));
  CHECK(has(sized(0, {1 << 20, 1 << 20}, {0, 0}), "repeats elements"));
  CHECK(has(sized(-1, {1}, {1}), "offset"));
  CHECK(has(sized(0, {-1}, {1}), "sizes or strides"));
  CHECK(has(sized(0, {2}, {-1}), "sizes or strides"));
  CHECK(has(sized(0, {2, 3}, {1}), "2 sizes and 1 strides"));
  CHECK(has(sized(0, std::vector<std::int64_t>(65, 1), std::vector<std::int64_t>(65, 1)), "sizes or strides"));
  CHECK(sized(kMost, {0, kMost, kMost}, {kMost, kMost, kMost}).empty());  // no elements: nothing is out of bounds
  // The total of what is expanded is bounded too, not only each.
  std::vector<std::pair<std::string, std::string>> many;
  for (int i = 0; i < 40; ++i) many.emplace_back(std::to_string(i), tensor(six(), 0, {1 << 10, 1 << 9}, {0, 0}));
  CHECK(has(refused(dict(many)), "repeats elements"));

  CHECK(has(refused(dict({{"a", matrix()}, {"b", tensor(storage("IntStorage", "0", 6), 0, {6}, {1})}})), "IntStorage"));
  CHECK(has(refused(dict({{"a", tensor(storage("FloatStorage", "0", 5), 0, {5}, {1})}})), "holds 24 bytes"));
  CHECK(has(refused(dict({{"a", tensor(storage("FloatStorage", "0", kMost), 0, {6}, {1})}})), "holds 24 bytes"));
  CHECK(has(refused(dict({{"a", tensor(storage("FloatStorage", "8", 6), 0, {6}, {1})}})), "misses the storage data/8"));
  CHECK(has(refused(dict({{"a", tensor(storage("FloatStorage", "0", -1), 0, {6}, {1})}})), "size"));
  CHECK(has(refused(dict({{"a", tensor(byte(1), 0, {6}, {1})}})), "without a storage"));
  CHECK(has(refused(dict(
                {{"a", tensor(tuple({text("storage"), global("os", "system"), text("0"), text("cpu"), byte(6)}) + "Q",
                              0, {6}, {1})}})),
            "none of torch's"));

  // The machine itself.
  CHECK(has(refused("0"), "empty stack"));
  CHECK(has(refused("N(Q"), "empty stack"));  // nothing is taken from below a mark
  CHECK(has(refused("N(K\1\x86"), "empty stack"));
  CHECK(has(refused("K\1K\2"), "left over"));
  CHECK(has(refused("(K\1"), "left over"));
  CHECK(has(refused("h\7"), "never set"));
  CHECK(has(refused("K\1r\xff\xff\xff\x7f"), "memo number"));
  CHECK(has(refused("}(K\1u"), "without a value"));
  CHECK(has(refused("K\1K\2K\3s"), "no dict"));
  CHECK(has(refused("K\1K\2a"), "no list"));
  CHECK(has(refused("K\1)R"), "no function"));
  CHECK(has(refused(global("os", "system") + "K\1R"), "no tuple"));
  CHECK(has(refused("K\1t"), "misses a mark"));
  CHECK(has(refused("]((e"), "fills no container"));
  CHECK(has(refused("\x8b\xff\xff\xff\xff"), "negative length"));
  CHECK(has(refused("\x8b\xff\xff\xff\x7f"), "cut off"));
  CHECK(has(refused("X\xff\xff\xff\xff"), "cut off"));
  CHECK(has(refused("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "cut off"));
  CHECK(has(refused("\x95\xff\xff\xff\xff\xff\xff\xff\xff"), "cut off"));
  CHECK(has(refused("cos"), "cut off"));
  CHECK(has(refused("P1\n"), "opcode 80"));
  CHECK(has(refused("\x97"), "opcode 151"));
  CHECK(has(refused("\x82\1"), "opcode 130"));
  CHECK(has(refused("I12x\n"), "none"));
  CHECK(has(refused(std::string(1 << 20, '(') + "((("), "marks"));
  CHECK(has(refused(std::string((1 << 20) + 9, 'N')), "wait on its stack"));
  CHECK(has(refused(repeat("]0", 1'300'000)), "MB of objects"));               // a list for each byte
  CHECK(has(refused("(" + std::string(900'000, 'N') + "t"), "holds a list"));  // large, but no more than it says
  std::string copies = "(" + std::string(200'000, 'N') + "tq\1";
  for (int i = 0; i < 2000; ++i) copies += "0" + global("torch", "Size") + "(h\1tR";
  CHECK(has(refused(copies), "MB of objects"));

  // Containers in themselves and 10^6 levels deep are no trouble: there is no recursion.
  CHECK(has(refused("]q\1h\1a"), "a list of 1"));
  std::string deep = "N";
  for (int i = 0; i < 300'000; ++i) deep += "\x85";
  CHECK(has(refused(deep), "a list of 1"));
}

TEST_CASE("archives: damage and other archives") {
  const std::string body = dict({{"w", matrix()}});
  const std::string good = pytorch_zip(body, {{"0", kSix}});
  CHECK(names(read_zip(good)) == Names{"w"});
  for (std::size_t cut = 0; cut < good.size(); ++cut) {
    const std::string error = error_of([&] { read_zip(std::string_view(good).substr(0, cut)); });
    if (error.empty()) FAIL("accepted when cut to " << cut << " of " << good.size() << " bytes");
  }
  std::size_t unseen = 0;
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    const std::string error = error_of([&] {
      const WeightFile file = read_zip(bad);
      if (values(file, "w") != std::vector<double>{1, 2, 3, 4, 5, 6}) FAIL("wrong values after flipping bit " << bit);
    });
    unseen += error.empty();
  }
  CHECK(unseen > 0);  // padding, dates, versions: flips that change nothing

  const std::string old = pytorch_old(body, {{"0", kSix}});
  for (std::size_t cut = 0; cut < old.size(); ++cut) {
    if (error_of([&] { read_old(std::string_view(old).substr(0, cut)); }).empty()) FAIL("accepted when cut to " << cut);
  }
  CHECK(names(read_old(old)) == Names{"w"});
  CHECK(has(error_of([&] { read_old(pytorch_old(body, {{"0", kSix}, {"0", kSix}})); }), "twice"));
  CHECK(has(error_of([&] { read_old(pytorch_old(body, {{"1", kSix}})); }), "belongs to no tensor"));
  CHECK(has(error_of([&] { read_old(pytorch_old(body, {})); }), "misses the storage"));
  CHECK(has(error_of([&] { read_old(pytorch_old(body, {{"0", kSix}}, 8)); }), "3 elements where it lies"));
  CHECK(has(error_of([&] { read_old(pickle("N")); }), "pickle.dump"));
  CHECK(has(error_of([&] { read_old(std::string(257, '\0') + "ustar" + std::string(300, '\0')); }), "tar archive"));

  const auto archive = [&](std::vector<Member> members) { return error_of([&] { read_zip(zip(members)); }); };
  const Member pkl{"a/data.pkl", pickle(body)}, data{"a/data/0", kSix};
  CHECK(archive({pkl, data}).empty());
  CHECK(archive({{"data.pkl", pickle(body)}, {"data/0", kSix}}).empty());
  CHECK(has(archive({{"a/model.json", "{}"}}), "no data.pkl"));
  CHECK(has(archive({pkl, {"b/data.pkl", "x"}, data}), "more than one"));
  CHECK(has(archive({pkl, data, data}), "occurs twice"));
  CHECK(has(archive({pkl, {"a/data/0", kSix, 8}}), "compressed"));
  CHECK(has(archive({pkl, data, {"a/byteorder", "middle"}}), "byte order"));
  // zip64: numbers that do not fit 32 bits stand in an extra field of the directory.
  std::string large = zip({pkl, data});
  const std::size_t central = large.rfind("PK\1\2"), end = large.rfind("PK\5\6");
  std::uint32_t size = 0, offset = 0;
  std::memcpy(&size, large.data() + central + 24, 4);
  std::memcpy(&offset, large.data() + central + 42, 4);
  const std::string wide = little(std::uint64_t{size}) + little(std::uint64_t{size}) + little(std::uint64_t{offset});
  const auto with_extra = [&](const std::string& extra) {
    std::string file = large;
    for (const std::size_t at : {20u, 24u, 42u}) file.replace(central + at, 4, "\xff\xff\xff\xff");
    file.replace(central + 30, 2, little(static_cast<std::uint16_t>(extra.size())));
    file.replace(end + 12, 4, little(static_cast<std::uint32_t>(end - large.find("PK\1\2") + extra.size())));
    return file.insert(end, extra);
  };
  CHECK(names(read_zip(with_extra("\1\0\x18\0"s + wide))) == Names{"w"});
  CHECK(names(read_zip(with_extra("xy\2\0zz\1\0\x18\0"s + wide))) == Names{"w"});
  CHECK(has(error_of([&] { read_zip(with_extra("\1\0\x10\0"s + wide.substr(0, 16))); }), "too short"));
  CHECK(has(error_of([&] { read_zip(with_extra("\1\0\xff\0"s + wide)); }), "too long"));
  CHECK(has(error_of([&] { read_zip(with_extra("")); }), "not where the directory says"));
  // torch.serialization.set_crc32_options(False)
  CHECK(names(read_zip(zip({pkl, data}, false))) == Names{"w"});
}
