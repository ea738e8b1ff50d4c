// What nlohmann::json makes of bodies. Frames on stdin: a length (4 bytes, little-endian) and a body. Answers on stdout: a length and
// tokens, or "!" and the error. The first answer is its version.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

using Json = nlohmann::ordered_json;

static void hex(const std::string &text, std::string &out) {
  static const char *digits = "0123456789abcdef";
  for (const unsigned char byte : text) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
}

static void put(const Json &value, std::string &out) {
  if (!out.empty()) out += ' ';
  if (value.is_null()) out += 'n';
  else if (value.is_boolean()) out += value.get<bool>() ? 't' : 'f';
  else if (value.is_string()) {
    out += 's';
    hex(value.get_ref<const std::string &>(), out);
  } else if (value.is_number_unsigned()) out += 'i' + std::to_string(value.get<std::uint64_t>());
  else if (value.is_number_integer()) out += 'i' + std::to_string(value.get<std::int64_t>());
  else if (value.is_number_float()) {
    const double number = value.get<double>();
    std::uint64_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    char text[20];
    std::snprintf(text, sizeof text, "d%016llx", static_cast<unsigned long long>(bits));
    out += text;
  } else if (value.is_array()) {
    out += '[';
    for (const auto &item : value) put(item, out);
    out += " ]";
  } else {
    out += '{';
    for (const auto &[key, item] : value.items()) {
      out += " k";
      hex(key, out);
      put(item, out);
    }
    out += " }";
  }
}

static void send(const std::string &text) {
  const std::uint32_t length = static_cast<std::uint32_t>(text.size());
  const char bytes[4] = {static_cast<char>(length), static_cast<char>(length >> 8), static_cast<char>(length >> 16),
                         static_cast<char>(length >> 24)};
  std::cout.write(bytes, 4);
  std::cout.write(text.data(), static_cast<std::streamsize>(text.size()));
  std::cout.flush();
}

int main() {
  std::ios::sync_with_stdio(false);
  send(std::to_string(NLOHMANN_JSON_VERSION_MAJOR) + "." + std::to_string(NLOHMANN_JSON_VERSION_MINOR) + "." +
       std::to_string(NLOHMANN_JSON_VERSION_PATCH));
  unsigned char size[4];
  while (std::cin.read(reinterpret_cast<char *>(size), 4)) {
    const std::uint32_t length = size[0] | size[1] << 8 | size[2] << 16 | static_cast<std::uint32_t>(size[3]) << 24;
    std::string body(length, '\0');
    std::cin.read(body.data(), length);
    std::string out;
    try {
      put(Json::parse(body), out);
    } catch (const std::exception &error) {
      out = std::string("!") + error.what();
    }
    send(out);
  }
}
