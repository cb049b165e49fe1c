import eslint from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';
import { layering } from './lint/layering.js';
import { purity } from './lint/purity.js';

const NODE_GLOBALS = ['console', 'process', 'performance', 'setTimeout', 'clearTimeout', 'URL', 'Buffer'];

export default defineConfig(
  globalIgnores(['**/dist/', '**/build/', '**/node_modules/']),
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  eslint.configs.recommended,
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: { globals: Object.fromEntries(NODE_GLOBALS.map(name => [name, 'readonly'])) },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommended],
    // One program for everything: tsconfig.test.json reaches every file.
    languageOptions: { parserOptions: { project: ['./tsconfig.test.json'], tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false }],
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/only-throw-error': ['error', { allowThrowingUnknown: true }],
      '@typescript-eslint/prefer-promise-reject-errors': 'error',
      '@typescript-eslint/no-unnecessary-type-assertion': 'error',
      '@typescript-eslint/no-for-in-array': 'error',
      '@typescript-eslint/restrict-plus-operands': 'error',
      '@typescript-eslint/no-base-to-string': 'error',
      '@typescript-eslint/return-await': ['error', 'in-try-catch'],
      // `x!` after an index into a typed array is how noUncheckedIndexedAccess is answered on the hot path.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // An object with getters has a `this` of its own.
      '@typescript-eslint/no-this-alias': 'off',
      // The compiler does these.
      'no-undef': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'all' }],
    },
  },
  {
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-var': 'error',
      'prefer-const': 'error',
      'no-implicit-coercion': ['error', { boolean: true, number: false, string: false }],
      'no-constant-condition': ['error', { checkLoops: false }],
      'no-self-compare': 'error',
      'no-template-curly-in-string': 'error',
      'no-unmodified-loop-condition': 'off',
      'array-callback-return': 'error',
      'no-promise-executor-return': 'off',
    },
  },
  {
    files: ['src/**/*.ts', 'native/src/**/*.ts'],
    ignores: ['src/drill/**', 'src/nbd-server-ts/test/**'],
    rules: {
      'no-restricted-properties': [
        'error',
        {
          object: 'Date',
          property: 'now',
          message: 'The time of day jumps: performance.now() or the engine measures; new Date() is for people.',
        },
      ],
    },
  },
  {
    files: ['src/**/*.ts', 'native/src/**/*.ts'],
    plugins: { gatepath: { rules: { layering, purity } } },
    rules: { 'gatepath/layering': 'error', 'gatepath/purity': 'error' },
  },
);
