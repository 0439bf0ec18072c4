#include "models/zoo.h"

#include <algorithm>
#include <cmath>

#include "layers/init.h"
#include "models/aliases.h"
#include "models/efficientnet.h"

namespace fovea::models {
namespace {

const std::vector<Layout> kOwn = {Layout::fovea};

std::vector<Architecture> make_table() {
  using enum Layout;
  std::vector<Architecture> table;
  const auto own = [&](const char* name, Model (*build)(const Architecture&, const Options&), int size, int channels,
                       int min_size, int scale = 0) {
    table.push_back({.name = name,
                     .build = build,
                     .layer_names = nullptr,
                     .layouts = kOwn,
                     .image_size = size,
                     .channels = channels,
                     .classes = 10,
                     .min_size = min_size,
                     .scale = scale});
  };
  own("small_cnn", small_cnn, 28, 1, 4);
  own("fashion_cnn", fashion_cnn, 28, 1, 4);
  own("fashion_cnn_wide", fashion_cnn, 28, 1, 4, 1);
  own("private_cnn", private_cnn, 28, 1, 16);
  own("picture_cnn", picture_cnn, 64, 3, 16);

  table.push_back({.name = "mobilenet_v1",
                   .build = mobilenet_v1,
                   .layer_names = mobilenet_v1_names,
                   .layouts = {keras, timm, huggingface, tfslim},
                   .scalable = true});

  // scale 1: stem, head and the single blocks keep their size whatever width and depth (timm's fix_stem_head).
  const std::vector<Layout> mobilenet = {torchvision, timm, keras, huggingface, tfslim};
  table.push_back({.name = "mobilenet_v2",
                   .build = mobilenet_v2,
                   .layer_names = mobilenet_v2_names,
                   .layouts = mobilenet,
                   .scalable = true});
  table.push_back({.name = "mobilenet_v2_110d",
                   .build = mobilenet_v2,
                   .layer_names = mobilenet_v2_names,
                   .layouts = {timm},
                   .scale = 1,
                   .width = 1.1,
                   .depth = 1.2});
  table.push_back({.name = "mobilenet_v2_120d",
                   .build = mobilenet_v2,
                   .layer_names = mobilenet_v2_names,
                   .layouts = {timm},
                   .scale = 1,
                   .width = 1.2,
                   .depth = 1.4});

  // scale 1: large. "no_rescaling": Keras' include_preprocessing=False.
  for (const bool large : {false, true}) {
    table.push_back({.name = large ? "mobilenet_v3_large" : "mobilenet_v3_small",
                     .build = mobilenet_v3,
                     .layer_names = mobilenet_v3_names,
                     .layouts = {torchvision, timm, keras, tfslim},
                     .scale = large,
                     .scalable = true,
                     .deepens = false,
                     .variants = {{timm, "tf"}, {keras, "no_rescaling"}}});
  }

  // scale: n of bn and liten.
  const auto efficientnets = [&](std::span<const EfficientNetSize> sizes, bool lite) {
    Architecture a{.name = "", .build = lite ? efficientnet_lite : efficientnet};
    a.layer_names = lite ? efficientnet_lite_names : efficientnet_names;
    a.layouts = lite ? std::vector<Layout>{timm, lukemelas}
                     : std::vector<Layout>{torchvision, timm, keras, lukemelas, huggingface};
    a.variants = {{timm, "tf"}};
    if (!lite) a.variants.emplace_back(keras, "imagenet");
    a.layout_image_size = efficientnet_image_size;
    for (const EfficientNetSize& size : sizes) {
      a.name = size.name;
      a.width = size.width;
      a.depth = size.depth;
      a.image_size = size.image_size;
      table.push_back(a);
      ++a.scale;
    }
    a.name = lite ? "efficientnet_lite" : "efficientnet";
    a.width = a.depth = 1;
    a.image_size = 224;
    a.scale = kEfficientNetAnySize;
    a.scalable = true;
    table.push_back(a);
  };
  efficientnets(efficientnet_b_sizes(), false);
  efficientnets(efficientnet_lite_sizes(), true);

  // scale: the number of layers with weights.
  const std::pair<const char*, int> resnets[] = {
      {"resnet18", 18}, {"resnet34", 34}, {"resnet50", 50}, {"resnet101", 101}, {"resnet152", 152}};
  for (const auto& [name, layers] : resnets) {
    std::vector<Layout> layouts = {torchvision, timm, huggingface};
    if (layers >= 50) layouts.push_back(keras);  // which has no smaller ones
    table.push_back(
        {.name = name, .build = resnet, .layer_names = resnet_names, .layouts = std::move(layouts), .scale = layers});
  }

  table.push_back({.name = "inception_v3",
                   .build = inception_v3,
                   .layer_names = inception_v3_names,
                   .layouts = {torchvision, timm, keras, tfslim},
                   .image_size = 299,
                   .min_size = 75});
  return table;
}

[[noreturn]] void bad(const Architecture& a, std::string_view what) { throw Error(ErrorKind::usage, a.name, what); }

void fill_in_and_check(const Architecture& a, Options& o) {
  // A network that is not to read anybody's weights has the published size.
  const bool of_weights = o.layout && a.layout_image_size;
  if (!o.layout) {
    const auto layout =
        std::find_if(a.layouts.begin(), a.layouts.end(), [&](Layout l) { return takes_variant(a, l, o.variant); });
    o.layout = layout == a.layouts.end() ? a.layouts.front() : *layout;
  }
  if (*o.layout != Layout::fovea && std::find(a.layouts.begin(), a.layouts.end(), *o.layout) == a.layouts.end())
    bad(a, str("has no layout '", to_string(*o.layout), "'; it has: ", layout_list(a)));
  if (*o.layout == Layout::fovea) o.layout = a.layouts.front();
  if (o.classes == 0) o.classes = a.classes;
  if (!takes_variant(a, *o.layout, o.variant))
    bad(a, str("has no variant '", o.variant, "' in the layout ", to_string(*o.layout)));
  if (o.image_size == 0) o.image_size = of_weights ? a.layout_image_size(a, o) : a.image_size;
  if (o.channels == 0) o.channels = a.channels;
  if (o.width == 0) o.width = a.width;
  if (o.depth == 0) o.depth = a.depth;
  if (o.classes < 1 || o.classes > 1 << 24) bad(a, str("needs at least 1 class, got ", o.classes));
  if (o.image_size < a.min_size || o.image_size > 16384)
    bad(a, str("takes pictures of ", a.min_size, " to 16384 pixels, not ", o.image_size));
  if (o.channels != 1 && o.channels != 3) bad(a, str("takes 1 or 3 channels, not ", o.channels));
  if (!a.scalable && (o.width != a.width || o.depth != a.depth))
    bad(a, str("comes in one size; width ", o.width, " and depth ", o.depth, " do not apply"));
  if (!a.deepens && o.depth != a.depth) bad(a, str("comes in one depth; depth ", o.depth, " does not apply"));
  // Beyond 32 times the paper's channels a typing error is likelier than a network.
  if (!(o.width >= 0.01 && o.width <= 32) || !(o.depth >= 0.01 && o.depth <= 32))
    bad(a, str("width and depth are multipliers from 0.01 to 32, not ", o.width, " and ", o.depth));
}

}  // namespace

bool takes_variant(const Architecture& a, Layout layout, std::string_view variant) {
  return variant.empty() || std::any_of(a.variants.begin(), a.variants.end(),
                                        [&](const auto& v) { return v.first == layout && v.second == variant; });
}

std::string layout_list(const Architecture& a) {
  std::string list;
  for (const Layout l : a.layouts) list += str(list.empty() ? "" : ", ", to_string(l));
  return list;
}

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> table = make_table();
  return table;
}

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& a : architectures()) {
    if (name == a.name) return &a;
  }
  return nullptr;
}

Resolved resolve(const std::string& name, const Options& options) {
  Alias alias = canonical(name);
  const Architecture* a = find_architecture(alias.name);
  if (!a) {
    std::string known;
    for (const std::string& n : names()) known += str(known.empty() ? "" : ", ", n);
    throw Error(ErrorKind::usage, "model", str("there is no network named '", name, "'"), str("known are: ", known));
  }
  Options o = options;
  const Options& implied = alias.implied;
  if (!o.layout) {
    o.layout = implied.layout;
    if (o.variant.empty()) o.variant = implied.variant;
  } else if (o.variant.empty() && o.layout == implied.layout) {
    o.variant = implied.variant;
  }
  if (o.width == 0) o.width = implied.width;
  if (o.depth == 0) o.depth = implied.depth;
  if (o.image_size == 0) o.image_size = implied.image_size;
  if (o.classes == 0) o.classes = implied.classes;
  fill_in_and_check(*a, o);
  return {a, o};
}

Model build(const Architecture& architecture, const Options& resolved) {
  Model model = architecture.build(architecture, resolved);
  model.architecture = architecture.name;
  model.options = resolved;
  return model;
}

Model create(const std::string& name, const Options& options) {
  const auto [architecture, resolved] = resolve(name, options);
  Model model;
  {
    // Drawn once, by name, not once more at registration.
    const ParameterMode mode(ParameterMode::Kind::uninitialized);
    model = build(*architecture, resolved);
  }
  model.network().initialize(resolved.seed);
  return model;
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const Architecture& a : architectures()) out.emplace_back(a.name);
  return out;
}

bool is_known(const std::string& name) { return find_architecture(canonical(name).name) != nullptr; }

Info info(const std::string& name) {
  const Architecture& a = *resolve(name, {}).architecture;
  return {a.name, a.image_size, a.classes, a.layouts, aliases_of(a.name)};
}

}  // namespace fovea::models
