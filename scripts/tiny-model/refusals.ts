/** What the maker of small models refuses. The corpus and the options come from whoever runs the script. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const tinyModelMalformed = defineRefusals('malformed', {
  'tiny-model-corpus-malformed': {
    means: 'The corpus is not made of questions with answers and of paragraphs.',
    hint: 'See scripts/tiny-model/README.md for the form of a corpus.',
  },
  'tiny-model-corpus-size': {
    means: 'The corpus has more passages or more characters than the model has room for.',
    hint: 'Shorten the corpus, or join short paragraphs on one topic.',
  },
});

export const tinyModelUsage = defineRefusals('usage', {
  'tiny-model-usage': {
    means: 'The options do not say what to make.',
    hint: 'Run the command with --help.',
  },
  'tiny-model-parameters': {
    means: 'The wanted number of parameters is outside what can be made.',
    hint: 'Ask for a whole number of parameters, from one million to one million million.',
  },
});

export const tinyModelEnvironment = defineRefusals('environment', {
  'tiny-model-file': {
    means: 'A file could not be read or written.',
    hint: 'Check that the path exists, that you may write there, and that the disk is not full.',
  },
});
