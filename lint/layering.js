import { isBuiltin } from 'node:module';
import { onImports, pathOf, targetOf } from './imports.js';
import { ROOMS } from './rooms.js';

/** @import { Rule } from 'eslint' */
/** @import { Room } from './rooms.js' */

const byLength = [...ROOMS].sort((a, b) => b.at.length - a.at.length);

/**
 * The room of a path from the root of the tree.
 * @param {string} path
 * @returns {Room | undefined}
 */
export function roomOf(path) {
  return byLength.find(({ at }) => (at.endsWith('/') ? path.startsWith(at) : path === at));
}

/**
 * Whether `entry` of a room's `imports` covers an import of `path` in `target`; `names` are the values imported (undefined: all of them).
 * @param {string} entry
 * @param {Room} target
 * @param {string} path
 * @param {readonly string[] | undefined} names
 */
function covers(entry, target, path, names) {
  const [where = '', part] = entry.split(':');
  const fits = target.room === where || target.room.startsWith(`${where}/`) || (where.endsWith('.ts') && path === `src/${where}`);
  return fits && (part === undefined || (names?.every(name => name === part) ?? false));
}

/**
 * Reports an import that the table of rooms does not allow.
 * @type {Rule.RuleModule}
 */
export const layering = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      noRoom: '{{path}} is in no room: add the room to lint/rooms.js and to the table in docs/ARCHITECTURE.md',
      room: '{{from}} may not import {{what}}; it may import {{allowed}} (lint/rooms.js)',
      package: '{{from}} may not use the package {{what}}; it may use {{allowed}} (lint/rooms.js)',
      byName: 'import the package {{what}} by its name',
      computed: '{{from}} imports what lint cannot see: give the path as a literal',
    },
  },
  create(context) {
    const path = pathOf(context);
    const room = roomOf(path);
    if (room === undefined) return { Program: node => context.report({ node, messageId: 'noRoom', data: { path } }) };
    if (room.imports === 'anything') return {};
    const { imports, packages = [] } = room;
    const from = room.room;

    /** @param {import('./imports.js').Import} found */
    function check({ node, specifier, values }) {
      const report = (/** @type {string} */ messageId, what = '', /** @type {readonly string[]} */ allowed = []) =>
        context.report({ node, messageId, data: { from, what, allowed: allowed.join(', ') || 'none' } });
      if (specifier === undefined) return report('computed');
      if (isBuiltin(specifier)) return;
      if (!specifier.startsWith('.')) {
        const ours = ROOMS.find(one => one.package === specifier);
        if (ours === undefined) {
          if (!packages.includes(specifier)) report('package', specifier, packages);
        } else if (ours !== room && !imports.some(entry => covers(entry, ours, '', values))) {
          report('room', specifier, imports);
        }
        return;
      }
      const target = targetOf(path, specifier);
      const there = roomOf(target);
      if (there === undefined) return context.report({ node, messageId: 'noRoom', data: { path: target } });
      if (there === room) return;
      if (there.package !== undefined) return report('byName', there.package);
      if (!imports.some(entry => covers(entry, there, target, values))) report('room', `${there.room} (${target})`, imports);
    }

    return onImports(check);
  },
};
