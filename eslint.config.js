import js from '@eslint/js';
import { importX } from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

/** The folders that may stand above others; an import may only point down this list (docs/architecture.md). */
const consumers = ['cli', 'console', 'server', 'agent', 'audit'];
const middle = ['governance', 'policy', 'guard', 'sealed', 'log', 'keys'];

/** `target` must not import `from`: one row for each arrow that the design forbids. */
const zones = [
  { target: './attestation', from: ['./src', './native', './policies', './scripts'] },
  { target: './native', from: ['./src', './scripts'] },
  { target: './src/platform', from: [...consumers, ...middle].map((name) => `./src/${name}`) },
  ...middle.map((name) => ({
    target: `./src/${name}`,
    from: consumers.map((consumer) => `./src/${consumer}`),
  })),
  ...['server', 'agent', 'audit'].map((name) => ({
    target: `./src/${name}`,
    from: [...consumers.filter((other) => other !== name)].map((other) => `./src/${other}`),
  })),
  ...['cli', 'console', 'server', 'audit', 'governance', 'policy', 'guard', 'log', 'platform'].map(
    (name) => ({
      target: `./src/${name}`,
      from: ['./native'],
    }),
  ),
];

export default tseslint.config(
  { ignores: ['node_modules/', 'coverage/', 'build/'] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    files: ['**/*.ts'],
    plugins: { 'import-x': importX },
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['eslint.config.js'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    settings: { 'import-x/resolver': { node: { extensions: ['.ts', '.js'] } } },
    rules: {
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
      eqeqeq: 'error',
      'no-console': 'error',
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { zones }],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  {
    // The verifier library runs in browsers too and is pure: no Node module, no clock, no ambient effect (W10).
    files: ['attestation/**/*.ts'],
    ignores: ['attestation/**/*.test.ts'],
    rules: {
      'no-restricted-imports': ['error', { patterns: ['node:*', 'fs', 'path', 'crypto', 'os'] }],
      'no-restricted-globals': [
        'error',
        'process',
        'Buffer',
        'fetch',
        'setTimeout',
        'performance',
        'require',
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'Time is an argument (W10).' },
        { object: 'Math', property: 'random', message: 'Randomness is an argument (W10).' },
      ],
      'no-restricted-syntax': [
        'error',
        {
          selector: "NewExpression[callee.name='Date'][arguments.length=0]",
          message: 'Time is an argument.',
        },
      ],
    },
  },
  {
    files: ['**/*.test.ts', 'test/**/*.ts'],
    rules: { 'max-lines-per-function': 'off', '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  { files: ['**/*.{js,mjs}'], extends: [tseslint.configs.disableTypeChecked] },
);
