/** What the manual says of a verb beside its own description and options. */
export interface VerbWords {
  /** By name, of arguments that do not say it themselves. */
  readonly arguments?: Readonly<Record<string, string>>;
  /** Command lines, without what the shell prints before them. */
  readonly examples: readonly string[];
}

const vdisk = 'the vdisk';
const node = 'the node';
const container = 'the container';
const SIZE = 'like 20G (K, M, G, T, P: powers of 1024)';

/** By verb, as it is written. A test holds this against the verbs that there are. */
export const WORDS: Readonly<Record<string, VerbWords>> = {
  up: {
    examples: ['gatepath up --vdisk demo:10G', 'gatepath up --nodes 3 --data cluster --vdisk demo:10G'],
  },
  stargate: { examples: ['gatepath stargate --config /etc/gatepath/stargate.yaml'] },
  datapath: {
    examples: [
      'gatepath datapath --config /etc/gatepath/datapath.yaml',
      'gatepath datapath --config /etc/gatepath/datapath.yaml --replace',
    ],
  },
  'config check': { arguments: { file: 'the configuration' }, examples: ['gatepath config check /etc/gatepath/stargate.yaml'] },
  'config example stargate': { examples: ['gatepath config example stargate > stargate.yaml'] },
  'config example datapath': { examples: ['gatepath config example datapath > datapath.yaml'] },
  'cluster init': { arguments: { dir: 'where the authority is to live' }, examples: ['gatepath cluster init authority'] },
  'cluster join': {
    arguments: { dir: 'where the authority lives' },
    examples: ['gatepath cluster join authority --node node-1 --host 10.0.0.1', 'gatepath cluster join authority --datapath host-1'],
  },
  'cluster upgrade-from-single': { examples: ['gatepath cluster upgrade-from-single --config stargate.yaml'] },
  'cluster rolling-upgrade': {
    examples: [
      'gatepath cluster rolling-upgrade --data cluster',
      "gatepath cluster rolling-upgrade --restart-command 'ssh {node} systemctl restart gatepath-stargate'",
    ],
  },
  'container create': {
    arguments: { name: 'the new container' },
    examples: ['gatepath container create fast --rf 2 --durability flush', 'gatepath container create small --quota 100G --enospc error'],
  },
  'container set': { arguments: { name: container }, examples: ['gatepath container set small --quota 200G'] },
  'container show': { arguments: { name: container }, examples: ['gatepath container show small'] },
  'container list': { examples: ['gatepath container list --json'] },
  'vdisk create': {
    arguments: { name: 'the new vdisk', size: `how large it is, ${SIZE}` },
    examples: ['gatepath vdisk create web1 20G', 'gatepath vdisk create web2 20G --container fast'],
  },
  'vdisk list': { examples: ['gatepath vdisk list', 'gatepath vdisk list --json --data /var/lib/gatepath'] },
  'vdisk show': { arguments: { name: vdisk }, examples: ['gatepath vdisk show web1'] },
  'vdisk activate': { arguments: { name: vdisk }, examples: ['gatepath vdisk activate web1 --host hv2 --qmp /run/web1.qmp'] },
  'vdisk resize': {
    arguments: { name: vdisk, size: `how large it is to be, ${SIZE}` },
    examples: ['gatepath vdisk resize web1 40G --qmp /run/web1.qmp', 'gatepath vdisk resize web1 10G --shrink'],
  },
  'vdisk map': { arguments: { name: vdisk }, examples: ['gatepath vdisk map web1 --json'] },
  'vdisk release': { arguments: { name: vdisk }, examples: ['gatepath vdisk release web1'] },
  'vdisk recover': {
    arguments: { name: vdisk },
    examples: ['gatepath vdisk recover web1', 'gatepath vdisk recover web1 --from node-2 --accept-data-loss'],
  },
  'vdisk import': {
    arguments: { name: 'the new vdisk', source: 'a file, an NBD URI, or - for standard input' },
    examples: ['gatepath vdisk import web2 debian.qcow2', 'zstdcat disk.raw.zst | gatepath vdisk import web3 -'],
  },
  'vdisk export': {
    arguments: { name: vdisk, target: 'a file, an NBD URI, or - for standard output' },
    examples: ['gatepath vdisk export web2 backup.qcow2', 'gatepath vdisk export web2 - | zstd > web2.raw.zst'],
  },
  'vdisk delete': { arguments: { name: vdisk }, examples: ['gatepath vdisk delete web1'] },
  attach: {
    arguments: { vdisk },
    examples: [
      'gatepath attach web1 --format qemu',
      'gatepath attach web1 --qmp /run/web1.qmp',
      'gatepath attach web1 --shared --host hv2',
    ],
  },
  detach: { arguments: { vdisk }, examples: ['gatepath detach web1', 'gatepath detach web1 --qmp /run/web1.qmp'] },
  'node list': { examples: ['gatepath node list'] },
  'node show': { arguments: { name: node }, examples: ['gatepath node show node-1'] },
  'node drain': { arguments: { name: node }, examples: ['gatepath node drain node-1 --wait 300'] },
  'node undrain': { arguments: { name: node }, examples: ['gatepath node undrain node-1'] },
  'node remove': { arguments: { name: node }, examples: ['gatepath node drain node-3 && gatepath node remove node-3'] },
  status: { examples: ['gatepath status', 'gatepath status --data /run/gatepath'] },
  verify: { examples: ['gatepath verify /var/lib/gatepath --json'] },
  top: { examples: ['gatepath top --sort l', 'gatepath top --once --json'] },
  events: { examples: ['gatepath events --vdisk web1 --follow'] },
  drill: {
    arguments: { scenario: 'what is broken; "all" for every one, an unknown one names them' },
    examples: ['gatepath drill kill', 'gatepath drill all --rounds 20 --data cluster --report out'],
  },
  'completion bash': { examples: ['source <(gatepath completion bash)', 'gatepath completion bash > /etc/bash_completion.d/gatepath'] },
  'completion zsh': { examples: ['gatepath completion zsh > "$fpath[1]/_gatepath"'] },
  'completion fish': { examples: ['gatepath completion fish > ~/.config/fish/completions/gatepath.fish'] },
  'man-page': { examples: ['gatepath man-page | man -l -', 'gatepath man-page > /usr/local/share/man/man1/gatepath.1'] },
};
