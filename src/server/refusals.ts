/** How the server says no to a request, apart from what the verifier, the floors and the policy say. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const routeRefusals = defineRefusals('usage', {
  'route-unknown': {
    means: 'The server has nothing at this path.',
    hint: 'The paths of this server are listed at /openapi.json.',
  },
  'route-method': {
    means: 'The path exists, but not for this method.',
    hint: 'The methods of each path are listed at /openapi.json.',
  },
  'route-media-type': {
    means: 'The body of a request is not declared to be JSON.',
    hint: 'Send canonical JSON with the media type application/json.',
  },
  'model-unknown': {
    means: 'No model version with this manifest is registered.',
    hint: 'Check the digest; a model version is registered by a signed statement.',
  },
});

export const challengeRefusals = defineRefusals('unacceptable', {
  'challenge-used': {
    means:
      'The challenge was used by an earlier request. A nonce is good for one request, whatever its outcome.',
    hint: 'Ask for a new challenge and collect fresh evidence.',
  },
  'challenge-unknown': {
    means: 'No challenge of this name was handed out here, or it expired long ago.',
    hint: 'Ask this server for a challenge and collect fresh evidence.',
  },
  'challenge-expired': {
    means: 'The challenge expired before it was answered.',
    hint: 'Ask for a new challenge and answer it at once.',
  },
  'challenge-mismatch': {
    means: 'The challenge was handed out for another lab or model.',
    hint: 'Ask for a challenge for this lab and this model, and collect fresh evidence.',
  },
  'challenge-not-possible': {
    means: 'No release policy is in force that says what evidence this server needs.',
    hint: 'The owner has to sign a release policy, with settings for the device classes of one of its sets.',
  },
});

export const requestRefusals = defineRefusals('inauthentic', {
  'request-signature': {
    means: 'A request is not signed by a key of the lab that it names.',
    hint: "Sign with the lab's own key, the one that stands in its accreditation.",
  },
  'enrolment-answer': {
    means: 'The answer to a credential is wrong. The enrolment has ended.',
    hint: 'The attestation key and the endorsement key are not of one TPM, or the answer was altered. Enrol again.',
  },
});

export const enrolmentRefusals = defineRefusals('unacceptable', {
  'enrolment-unknown': {
    means: 'No enrolment of this name waits for an answer: it was answered, expired, or never begun.',
    hint: 'Begin the enrolment again.',
  },
  'enrolment-certifier': {
    means: 'The key that is to certify another is not enrolled by this lab.',
    hint: 'Enrol it by its credential first; then it can certify further keys of the same TPM.',
  },
  'enrolment-elsewhere': {
    means:
      'Another server of this log enrolled this TPM. What is known of a TPM is known by one server alone.',
    hint: 'Turn to the server at which the machine was enrolled. If that server is lost, its operator restores its database on another one.',
  },
  'enrolment-machine': {
    means: "The TPM's endorsement key does not stand in the lab's accreditation.",
    hint: 'Have the owner accredit this machine; the digest found is what its entry must say.',
  },
});

export const renewalRefusals = defineRefusals('unacceptable', {
  'renewal-unknown': {
    means: 'The lease to renew is not known here or has ended.',
    hint: 'Ask for a new lease: send the request without a lease to renew.',
  },
  'renewal-mismatch': {
    means: 'The lease to renew was granted to another lab, model or machine.',
    hint: 'Only the machine that holds a lease can renew it.',
  },
  'renewal-restarted': {
    means: 'The machine was restarted or resumed since the lease to renew was granted.',
    hint: 'A lease ends with the start of the machine that it was given to: ask for a new lease.',
  },
  'machine-lease-live': {
    means:
      'The machine was restarted, and a lease from before has not ended: a copy of it would look the same.',
    hint: 'Wait until the last lease of this machine has ended; its length stands in the release policy.',
  },
});

export const releaseRefusals = defineRefusals('unacceptable', {
  'release-claims-too-large': {
    means: 'The evidence is right, but says more than an entry of the log holds.',
    hint: 'Send evidence of fewer devices.',
  },
  'release-key-missing': {
    means: 'Everything speaks for the release, but this server holds no key for the model version.',
    hint: 'The owner has to seal the model with this server, or to restore its key store.',
  },
});

export const capacityRefusals = defineRefusals('unavailable', {
  'server-busy': {
    means: 'The server has as many open requests of this kind as it allows.',
    hint: 'Wait as long as Retry-After says and try again.',
  },
  'server-rate': {
    means: 'This address sent more requests than the server allows.',
    hint: 'Wait as long as Retry-After says and send more slowly.',
  },
  'server-overtaken': {
    means:
      'The reference values, the release policy or the accreditation changed while the evidence was verified.',
    hint: 'Ask for a new challenge and try again.',
  },
  'machine-overtaken': {
    means: 'Another request of the same machine was accepted after this one was begun.',
    hint: 'Ask for a new challenge and try again.',
  },
  'server-clock': {
    means: 'The clock of the server jumped, or stands before the last entry of the log.',
    hint: 'The operator has to set the clock right and start the server again. Nothing is decided meanwhile.',
  },
  'server-stopped': {
    means: 'The log could not be written, so the server decides nothing any more.',
    hint: 'The operator has to look at the disk and start the server again. No key left meanwhile.',
  },
  'server-failed': {
    means: 'The server failed in a way that it does not explain to callers.',
    hint: 'Try again later; the operator finds the cause under the named instance in the log.',
  },
});

export const homeRefusals = defineRefusals('environment', {
  'home-exists': {
    means: 'The folder for a new server home exists already and is not empty.',
    hint: 'Nothing was changed. Choose another folder.',
  },
  'home-not-made': {
    means: 'The home of a new server could not be made completely.',
    hint: 'Check free space and permissions; nothing partial was left behind.',
  },
  'home-not-shared': {
    means: 'The log of this home is of one server alone.',
    hint: 'Only a log that was begun in PostgreSQL can have several servers (weightgate init --log-database-file).',
  },
  'home-not-found': {
    means: 'The folder is not the home of a server.',
    hint: 'Make one with weightgate init, or give its path.',
  },
  'home-mode': {
    means: 'The mode or origin of the home is not the one that its log began with.',
    hint: 'No setting turns an evaluation server into a production one. Restore the configuration or make a new home.',
  },
  'home-custody-behind': {
    means: 'The key store of the home is older than what the log says of its wrapping keys.',
    hint: 'Restore the key store and custody.yaml that belong to this log: keys may be missing in these.',
  },
  'home-anchor': {
    means: "A vendor's authority cannot be read.",
    hint: 'Put one certificate in PEM into each .pem file, one digest of a key into each .spki-sha256 file.',
  },
  'home-port': {
    means: 'The server cannot listen at its address.',
    hint: 'Another program may use the port. Choose another one in weightgate.yaml.',
  },
  'home-witness-logs': {
    means: 'The logs in the configuration of a witness cannot be those of one witness.',
    hint: 'Name each origin once, with the verifier keys by which that log signs its checkpoints.',
  },
  'home-tls': {
    means: 'The TLS certificate or key of the server cannot be used.',
    hint: 'Check that the files named in weightgate.yaml are PEM and belong together.',
  },
});
