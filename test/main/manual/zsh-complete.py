# Types each command line at the prompt of a real zsh, has it list what the line may go on with, and prints what it shows, a form feed behind each.
# Arguments: the script; for each line, the line and what is waited for, with tabs between.
import os, pty, select, sys, time

script, lines = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "dumb"
    os.execvp("zsh", ["zsh", "-f", "-i"])

def say(text):
    os.write(terminal, text.encode())

def read(*until, quiet=30.0):
    text = ""
    while not all(one in text for one in until) and select.select([terminal], [], [], quiet)[0]:
        text += os.read(terminal, 65536).decode(errors="replace")
    return text

# What is echoed is not what is waited for: two halves.
say("PS1='> '; bindkey -e; stty cols 200; bindkey '^X' list-choices; bindkey '^O' kill-whole-line; autoload -U compinit; compinit -u -D; source " + script + "; echo rea''dy\n")
read("ready")
for line, *offered in (one.split("\t") for one in lines):
    say(line)
    read(line.split(" ")[-1] or line, quiet=5.0)
    say("\x18")
    print(read(*offered, quiet=10.0), end="\f", flush=True)
    say("\x0f")
os.kill(pid, 9)
