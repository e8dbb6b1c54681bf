/** Why a mirror does not serve (docs/spec/sealed-weights.md, section "Sources"). */

import { defineRefusals } from '../../../attestation/core/refusal.ts';

const OTHER_MIRROR = 'Take another mirror, or tell whoever runs this one.';

export const sourceUsage = defineRefusals('usage', {
  'source-address': {
    means: 'The address of a bundle is not one that can be used.',
    hint: 'Give https://host/path of the folder that holds weightgate.manifest.json, without user, query and fragment.',
  },
  'source-credential': {
    means: 'A credential for a mirror cannot be sent.',
    hint: 'Use an https address, and a token of printable characters without spaces.',
  },
});

export const sourceUnavailable = defineRefusals('unavailable', {
  'source-unreachable': {
    means: 'A mirror did not answer, or broke the connection again and again.',
    hint: 'Check the address and the network; then try again, or take another mirror.',
  },
  'source-stalled': {
    means: 'A mirror held the connection open and sent next to nothing, again and again.',
    hint: 'Try again later, or take another mirror.',
  },
  'source-busy': {
    means: 'A mirror says that it cannot serve now.',
    hint: 'Try again later, or take another mirror; some serve more to callers with a token.',
  },
  'source-forbidden': {
    means: 'A mirror does not give a file to this caller.',
    hint: 'If the bundle is not public, give a token with --token-file.',
  },
  'source-status': {
    means: 'A mirror answered with a status that no file is given with.',
    hint: OTHER_MIRROR,
  },
});

export const sourceMalformed = defineRefusals('malformed', {
  'source-range-ignored': {
    means: 'A mirror sends the whole file where a part of it was asked for.',
    hint: 'The mirror has to serve ranges of bytes (RFC 9110 section 14); most servers of static files do.',
  },
  'source-range': { means: 'A mirror answered with another range than was asked for.', hint: OTHER_MIRROR },
  'source-length': {
    means: 'A mirror announced or sent another number of bytes than was asked for.',
    hint: OTHER_MIRROR,
  },
  'source-encoding': {
    means: 'A mirror, or something in between, encoded the bytes though they were asked for as they are.',
    hint: 'Switch off compression for this folder at the mirror or the proxy.',
  },
  'source-changed': {
    means: 'A file changed on the mirror while it was being read.',
    hint: 'Start again when the mirror is complete; name a fixed revision where there are revisions.',
  },
  'source-redirect': {
    means: 'A mirror sends the caller on to an address that must not be followed.',
    hint: OTHER_MIRROR,
  },
  'source-redirect-limit': { means: 'A mirror sends the caller on without an end.', hint: OTHER_MIRROR },
});

export const sourceInauthentic = defineRefusals('inauthentic', {
  'source-not-trusted': {
    means: 'A mirror did not prove over TLS that it is the host of its address.',
    hint: 'Check the address. For an authority of your own, name its certificate in NODE_EXTRA_CA_CERTS.',
  },
});

export const fetchEnvironment = defineRefusals('environment', {
  'fetch-not-written': {
    means: 'A bundle that is fetched could not be written completely.',
    hint: 'Check free space and permissions. What has come is kept beside; fetching again goes on from there.',
  },
});
