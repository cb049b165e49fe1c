import { isBuiltin } from 'node:module';
import { onImports, pathOf, targetOf } from './imports.js';
import { PURE } from './rooms.js';

/** @import { Rule } from 'eslint' */

const patterns = PURE.map(path => {
  const escaped = path.replace(/[.]/g, '\\.').replace(/\*/g, '[^/]*');
  return new RegExp(`^${escaped}${path.endsWith('/') ? '' : '$'}`);
});

/**
 * @param {string} path from the root of the tree
 */
export function isPure(path) {
  return patterns.some(pattern => pattern.test(path));
}

/** Globals with a clock, randomness, a timer, a socket or the process behind them, or a way to all of these. */
const FORBIDDEN_GLOBALS = new Set([
  'Date',
  'performance',
  'crypto',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'process',
  'fetch',
  'WebSocket',
  'require',
  'globalThis',
  'global',
]);

/** Node's modules that a pure file may use. */
const ALLOWED_BUILTINS = new Set(['node:assert', 'node:assert/strict']);

/**
 * Reports what makes a pure file depend on more than its arguments.
 * @type {Rule.RuleModule}
 */
export const purity = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      global: '{{name}} in a pure file: time, randomness, timers and I/O come in through ports (lint/rooms.js, PURE)',
      builtin: '{{name}} in a pure file: it may use {{allowed}} of Node',
      impure: '{{name}} is not a pure file, and this one is: import its types only, or pass the thing in (lint/rooms.js, PURE)',
    },
  },
  create(context) {
    const path = pathOf(context);
    if (!isPure(path)) return {};

    /** @param {import('./imports.js').Import} found */
    function check({ node, specifier, values }) {
      if (values?.length === 0 || specifier === undefined) return;
      if (isBuiltin(specifier)) {
        if (ALLOWED_BUILTINS.has(specifier)) return;
        context.report({ node, messageId: 'builtin', data: { name: specifier, allowed: [...ALLOWED_BUILTINS].join(', ') } });
      } else if (specifier.startsWith('.') && !isPure(targetOf(path, specifier))) {
        context.report({ node, messageId: 'impure', data: { name: targetOf(path, specifier) } });
      }
    }

    return {
      'Program:exit'() {
        for (const { identifier: node } of globalValues(context.sourceCode.scopeManager.globalScope)) {
          if (FORBIDDEN_GLOBALS.has(node.name)) context.report({ node, messageId: 'global', data: { name: node.name } });
          if (node.name === 'Math' && !isHarmlessMath(node)) context.report({ node, messageId: 'global', data: { name: 'Math.random' } });
        }
      },
      ...onImports(check),
    };
  },
};

/**
 * The places where a file uses a global's value: of the globals that ESLint knows, and of the others, Node's among them.
 * @param {any} scope
 */
function globalValues(scope) {
  const known = scope.variables.filter((/** @type {any} */ variable) => variable.defs.length === 0);
  return [...scope.through, ...known.flatMap((/** @type {any} */ variable) => variable.references)].filter(one => one.isValueReference);
}

/**
 * Whether this `Math` can only be a function of its arguments: `Math.max`, but not `Math.random`, `Math[name]` or `Math` handed on.
 * @param {any} node
 */
function isHarmlessMath({ parent }) {
  return parent.type === 'MemberExpression' && !parent.computed && parent.property.name !== 'random';
}
