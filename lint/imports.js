import { posix, relative, sep } from 'node:path';

/**
 * What the rules of this folder share: the imports of a file. The tree's types are `any` here: typescript-eslint adds to it what ESLint's
 * own types do not have (importKind, exportKind, TSImportType).
 *
 * @import { Rule } from 'eslint'
 * @typedef {object} Import
 * @property {any} node
 * @property {string | undefined} specifier undefined: computed while the program runs
 * @property {readonly string[] | undefined} values names of the values it takes: none for types, undefined for all
 */

/**
 * Calls `check` for each import of a file: static, dynamic, type-only, and exports from another module.
 * @param {(found: Import) => void} check
 * @returns {Rule.RuleListener}
 */
export function onImports(check) {
  const found = (/** @type {any} */ node, /** @type {readonly string[] | undefined} */ values) =>
    check({ node, specifier: typeof node.source.value === 'string' ? node.source.value : undefined, values });
  return {
    ImportDeclaration: (/** @type {any} */ node) => found(node, importedValues(node)),
    ExportNamedDeclaration(/** @type {any} */ node) {
      if (node.source) found(node, exportedValues(node));
    },
    ExportAllDeclaration: (/** @type {any} */ node) => found(node, node.exportKind === 'type' ? [] : undefined),
    ImportExpression: (/** @type {any} */ node) => found(node, undefined),
    TSImportType: (/** @type {any} */ node) => found(node, []),
  };
}

/** @param {any} node */
function importedValues(node) {
  if (node.importKind === 'type') return [];
  const values = node.specifiers.filter((/** @type {any} */ one) => one.importKind !== 'type');
  const whole = node.specifiers.length === 0 || values.some((/** @type {any} */ one) => one.type === 'ImportNamespaceSpecifier');
  if (whole) return undefined;
  return values.map((/** @type {any} */ one) => (one.type === 'ImportDefaultSpecifier' ? 'default' : nameOf(one.imported)));
}

/** @param {any} node */
function exportedValues(node) {
  if (node.exportKind === 'type') return [];
  return node.specifiers.filter((/** @type {any} */ one) => one.exportKind !== 'type').map((/** @type {any} */ one) => nameOf(one.local));
}

/** @param {any} node an identifier or a string */
const nameOf = node => node.name ?? node.value;

/**
 * A file's path from the root of the tree, with slashes.
 * @param {Rule.RuleContext} context
 */
export function pathOf(context) {
  return relative(context.cwd, context.filename).split(sep).join('/');
}

/**
 * The source file that a relative import means; TypeScript's imports name the compiled one.
 * @param {string} path
 * @param {string} specifier
 */
export function targetOf(path, specifier) {
  return posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts');
}
