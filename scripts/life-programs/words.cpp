// C++: maps of strings and vectors grow and shrink; a tree of nodes is built and half torn down.
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

struct Node {
    std::string name;
    std::vector<std::unique_ptr<Node>> children;
};

static std::unique_ptr<Node> grow(std::mt19937 &dice, int depth) {
    auto node = std::make_unique<Node>();
    node->name = std::string(8 + dice() % 40, 'n');
    for (int at = 0; depth > 0 && at < 6; at++)
        node->children.push_back(grow(dice, depth - 1));
    return node;
}

int main() {
    std::mt19937 dice(7);
    std::unordered_map<std::string, std::vector<int>> index;
    std::map<int, std::string> lines;
    for (int at = 0; at < 250000; at++) {
        std::string word(3 + dice() % 20, static_cast<char>('a' + dice() % 26));
        word += std::to_string(dice() % 4000);
        index[word].push_back(at);
        lines[at] = word + word;
        if (at >= 60000) lines.erase(at - 60000);
        if (at % 50000 == 49999)
            for (auto it = index.begin(); it != index.end();)
                it = dice() % 2 ? index.erase(it) : std::next(it);
    }
    auto tree = grow(dice, 6);
    for (size_t at = 0; at < tree->children.size(); at += 2) tree->children[at].reset();
    std::printf("%zu %zu\n", index.size(), lines.size());
}
