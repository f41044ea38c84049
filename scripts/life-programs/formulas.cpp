// C++: formulas are parsed to trees of shared nodes, derived and simplified; texts of all stay in a list.
#include <cstdio>
#include <list>
#include <memory>
#include <random>
#include <string>

struct Term;
using Link = std::shared_ptr<const Term>;
struct Term {
    char kind;
    double value;
    Link left, right;
};

static Link make(char kind, double value, Link left = {}, Link right = {}) {
    return std::make_shared<Term>(Term{kind, value, std::move(left), std::move(right)});
}

static Link grow(std::mt19937 &dice, int depth) {
    if (depth == 0 || dice() % 5 == 0)
        return dice() % 2 ? make('x', 0) : make('n', dice() % 9 + 1);
    return make(dice() % 2 ? '+' : '*', 0, grow(dice, depth - 1), grow(dice, depth - 1));
}

static Link derive(const Link &term) {
    if (term->kind == 'x') return make('n', 1);
    if (term->kind == 'n') return make('n', 0);
    if (term->kind == '+') return make('+', 0, derive(term->left), derive(term->right));
    auto left = make('*', 0, derive(term->left), term->right);
    return make('+', 0, left, make('*', 0, term->left, derive(term->right)));
}

static Link simplify(const Link &term) {
    if (!term->left) return term;
    auto left = simplify(term->left), right = simplify(term->right);
    if (left->kind == 'n' && right->kind == 'n')
        return make('n', term->kind == '+' ? left->value + right->value : left->value * right->value);
    if (term->kind == '+' && left->kind == 'n' && left->value == 0) return right;
    if (term->kind == '*' && left->kind == 'n' && left->value == 0) return left;
    return make(term->kind, 0, left, right);
}

static std::string text(const Link &term) {
    if (term->kind == 'x') return "x";
    if (term->kind == 'n') return std::to_string(static_cast<int>(term->value));
    return "(" + text(term->left) + term->kind + text(term->right) + ")";
}

int main() {
    std::mt19937 dice(24);
    std::list<std::string> texts;
    size_t length = 0;
    for (int number = 0; number < 300; number++) {
        auto formula = grow(dice, 8);
        texts.push_back(text(simplify(derive(simplify(formula)))));
        length += texts.back().size();
        if (texts.size() > 120) texts.pop_front();
    }
    std::printf("%zu %zu\n", texts.size(), length);
}
