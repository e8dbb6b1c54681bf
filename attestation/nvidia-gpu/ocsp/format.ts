/** What can be wrong with the form of OCSP messages, and the identifiers that stand in them. */

import { defineRefusals } from '../../core/refusal.ts';

export const ocspFormatRefusals = defineRefusals('malformed', {
  'ocsp-malformed': {
    means: 'An OCSP answer is not of the form that every reader understands alike.',
    hint: 'Ask the responder again, about one certificate, with SHA-384.',
  },
  'ocsp-size': {
    means: 'An OCSP answer or nonce is larger or smaller than its reader allows.',
    hint: 'An answer about one certificate has about a kilobyte; check what was fetched.',
  },
});

/** RFC 6960 sections 4.2.1, 4.2.2.2.1 and 4.4.1. */
export const OcspId = {
  basicResponse: '1.3.6.1.5.5.7.48.1.1',
  nonce: '1.3.6.1.5.5.7.48.1.2',
  noCheck: '1.3.6.1.5.5.7.48.1.5',
  signing: '1.3.6.1.5.5.7.3.9',
} as const;

/** RFC 9654 section 2.1: a client sends 32 bytes; a responder takes up to 128. */
export const NONCE_BYTES = { min: 1, max: 128 } as const;
