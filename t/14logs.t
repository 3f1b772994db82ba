# Where the output of applications goes: a file of the application's own, written by its user, rotated by whoever likes.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;
use POSIX qw(mkfifo);
use Proc;

my ($first, @others) = Harness->mpms;
my @rotated = map { rotate_server($first) } 1, 2;
symlink "$rotated[1]{root}/logs/elsewhere", "$rotated[1]{root}/logs/passenger.log" or die "symlink: $!";
for my $part (split ' ', $ENV{PARTS} // 'files rotation deaths refused server streams') {
    subtest "$first: $part" => sub { no strict 'refs'; &$part($first) };
}
subtest "$first: rotated" => sub { rotated(@rotated) };
for my $mpm (@others) {
    subtest "$mpm: files" => sub { files($mpm) };
}
done_testing;

sub say_in { my ($h, $text, %field) = @_; $h->get("/log?text=$text", %field)->status }
sub has { my ($file, $text, $seconds) = @_; soon { slurp($file) =~ /\Q$text\E/ } "$file has $text", $seconds // 20 }
sub scribes { my ($h) = @_; grep { "@{ $_->{cmdline} }" =~ /passenger-helper prepare/ } $h->processes }

# Two applications, two files, named in both ways.
sub files {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my ($one, $two) = map { my $app = $h->copy_app('wsgi'); rename $app, "$h->{root}/apps/$_"; "$h->{root}/apps/$_" } qw(one two);
    mkdir "$two/logs";
    $h->own($one, $h->app_user);
    $h->own($two, $h->app_user(1));
    $h->start(conf => <<"END");
<VirtualHost *>
ServerName one
DocumentRoot $one/public
PassengerAppLogFile stderr.log
</VirtualHost>
<VirtualHost *>
ServerName two
DocumentRoot $two/public
<Directory $two/public>
    AllowOverride All
    Require all granted
</Directory>
</VirtualHost>
END
    spew("$two/public/.htaccess", qq(PassengerAppLogFile "$two/logs/app.txt"\n));
    $h->own($two, $h->app_user(1));
    is say_in($h, 'from_one', Host => 'one'), 200, 'the first says something';
    is say_in($h, 'from_two', Host => 'two'), 200, 'so does the second';
    has("$one/stderr.log", 'from_one');
    has("$two/logs/app.txt", 'from_two');
    like slurp("$one/stderr.log"), qr/^\[\w+ \w+ \d+ [\d:.]+ \d+\] \[passenger-core:notice\] \[pid \d+\] \[app \Q$one\E \(production\)\] \[std(out|err)\] App \d+ output: from_one$/m, 'with time and process';
    unlike slurp("$one/stderr.log"), qr/from_two/, 'nothing of the other';
    unlike $h->log_text, qr/from_(one|two)/, 'nothing in the server\'s log';
    is getpwuid((stat "$one/stderr.log")[4]), $h->app_user, 'the file is the user\'s';
    is sprintf('%o', (stat _)[2] & 0777), '640', '... and not for others';
    is say_in($h, "line%0A%5Bfake%5D%1B", Host => 'one'), 200, 'more than a line';
    has("$one/stderr.log", 'output: [fake]\x1b');
    my @pids = sort map { $_->{pid} } scribes($h);
    is @pids, 2, 'a process writes each file';
    $h->graceful;
    is say_in($h, 'after_graceful', Host => 'one'), 200, 'after a reload';
    has("$one/stderr.log", 'after_graceful');
    is join(' ', sort map { $_->{pid} } scribes($h)), "@pids", 'they are the same';
}

sub start {
    my ($mpm, $conf) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    $h->own($app, $h->app_user);
    $h->start(conf => "DocumentRoot $app/public\n" . ($conf // 'PassengerAppLogFile app.log'));
    return ($h, $app, "$app/app.log");
}

sub rotation {
    my ($mpm) = @_;
    my ($h, $app, $file) = start($mpm);
    say_in($h, 'first');
    has($file, 'first');
    rename $file, "$file.1";
    my $n = 0;
    soon { say_in($h, 'second' . $n++); slurp($file) =~ /second/ } 'a file that was renamed is made anew';
    my $all = slurp("$file.1") . slurp($file);
    like $all, qr/second$_\b/, "line $_ is in one of them" for 0 .. $n - 1;
    truncate $file, 0;
    say_in($h, 'third');
    has($file, 'third');
    ok -s $file < 200, 'one that was truncated begins anew';
    unlink $file;
    soon { say_in($h, 'fourth'); slurp($file) =~ /fourth/ } 'one that was removed is made anew';
}

sub deaths {
    my ($mpm) = @_;
    my ($h, $app, $file) = start($mpm);
    spew("$app/passenger_wsgi.py", <<'END');
import os, sys
def application(environ, start_response):
    for i in range(int(environ["QUERY_STRING"] or 0)):
        print("line-%06d" % i)
    if environ["PATH_INFO"] == "/die":
        sys.stdout.write("half a line")
        sys.stdout.flush()
        os.kill(os.getpid(), 9)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
END
    $h->own($app, $h->app_user);
    is $h->get('/die')->status, 502, 'a process that dies in the middle of a line';
    has($file, 'half a line');
    $h->expect_log('PSG0102');
    $h->allow_log(qr/PSG01\d\d/);
    is $h->get('/?20000')->status, 200, 'many lines';
    has($file, 'line-019999');
    my %seen;
    $seen{$_}++ for slurp($file) =~ /line-(\d{6})/g;
    is scalar(keys %seen), 20000, '... are all there';
    my ($scribe) = scribes($h);
    $h->kill_core;
    $h->expect_log('PSG0013');
    is $h->get('/?3')->status, 200, 'a new core';
    soon { 2 == (() = slurp($file) =~ /line-000002/g) } 'writes to the same file';
    is((scribes($h))[0]{pid}, $scribe->{pid}, '... by the same process');
    kill KILL => $scribe->{pid};
    wait_for { !kill 0, $scribe->{pid} } 'its end';
    my $five = () = slurp($file) =~ /line-000004/g;
    is $h->get('/?5')->status, 200, 'that one dies';
    soon { $five < (() = slurp($file) =~ /line-000004/g) } '... and nothing is lost of what is said then';
    soon { $h->get('/?1'); my ($now) = scribes($h); $now && $now->{pid} != $scribe->{pid} } 'and is replaced', 20;
}

# What must not be written: links, other users' files, and, where only .htaccess names it, what is no log.
sub refused {
    my ($mpm) = @_;
    for my $case (['a symbolic link', 'PassengerAppLogFile app.log', sub { symlink "$_[1]/target", "$_[1]/app.log" }, qr/is a symbolic link/],
                  ['a folder that is not there', 'PassengerAppLogFile nowhere/app.log', sub { }, qr/No such file or directory/],
                  ['a file of root\'s', 'PassengerAppLogFile app.log', sub { spew("$_[1]/app.log", 'root'); chmod 0644, "$_[1]/app.log" }, qr/Permission denied/],
                  ['a pipe', 'PassengerAppLogFile app.log', sub { system('mkfifo', "$_[1]/app.log"); $_[0]->own($_[1], $_[0]->app_user) }, qr/No such device|no regular file/],
                  ['a profile', undef, sub { spew("$_[1]/public/.htaccess", "PassengerAppLogFile .profile\n") }, qr/neither does its name end in/]) {
        my ($what, $conf, $do, $like) = @$case;
        my $h = Harness->new(mpm => $mpm);
        my $app = $h->copy_app('wsgi');
        $h->own($app, $h->app_user);
        $do->($h, $app);
        $h->start(conf => "DocumentRoot $app/public\n" . ($conf // "<Directory $app/public>\nAllowOverride All\nRequire all granted\n</Directory>\n"));
        is say_in($h, 'hello'), 200, "$what: the application answers";
        like $h->expect_log('PSG1900'), $like, '... the log says why the file is not written';
        soon { $h->log_text =~ /output: hello/ } '... and has the output itself';
        ok !-e "$app/target" && !-e "$app/.profile", '... nothing was made';
    }
}

# Apache's log may be a program.
sub server {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->copy_app('wsgi');
    $h->start(conf => "DocumentRoot $app/public\nErrorLog \"|\$/bin/cat >>$h->{root}/logs/error_log\"");
    is say_in($h, 'through_a_pipe'), 200, 'with ErrorLog to a program';
    soon { $h->log_text =~ /App \d+ output: through_a_pipe/ } 'it gets the output';
    $h->graceful;
    is say_in($h, 'after_graceful'), 200, 'after a reload';
    soon { $h->log_text =~ /App \d+ output: after_graceful/ } '... still';
    my @cats = grep { $_->{ppid} == $h->{pid} && "@{ $_->{cmdline} }" =~ m{/bin/cat} } Proc::all();
    $h->allow_log(qr/AH00(?:106|488)/); # what Apache says of its program
    kill KILL => map { $_->{pid} } @cats;
    soon { say_in($h, 'after_death'); $h->log_text =~ /App \d+ output: after_death/ } 'after its death Apache starts another', 20;
}

# PassengerLogFile after logrotate has renamed it. Apache's parent looks every ten seconds, which go by while other parts run.
sub rotate_server {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my ($app, $log) = ($h->copy_app('wsgi'), "$h->{root}/logs/passenger.log");
    $h->start(conf => "DocumentRoot $app/public\nPassengerLogFile $log\n");
    is say_in($h, 'before'), 200, 'an application prints into PassengerLogFile';
    has($log, 'output: before');
    rename $log, "$log.1" or die "rename: $!";
    return $h;
}

sub rotated {
    my ($h, $linked) = @_;
    my $log = "$h->{root}/logs/passenger.log";
    soon { -e $log } 'a file that was renamed is made anew', 30;
    soon { say_in($h, 'after'); slurp($log) =~ /passenger-core:notice.* output: after/ } '... and written to', 20;
    soon { slurp("$log.1") =~ /output: before/ } '... nothing of the old one is lost';
    $h->kill_core;
    $h->allow_log('PSG0013');
    soon { say_in($h, 'other'); slurp($log) =~ /output: other/ } '... another core does, too', 20;
    truncate $log, 0;
    is say_in($h, 'truncated'), 200, 'cut short';
    soon { slurp($log) =~ /^\[[^\0]*output: truncated/ } '... it begins anew', 20;
    soon { $linked->log_text =~ /PSG2810/ } 'a symbolic link in the place of one is not followed', 30;
    $linked->allow_log('PSG2810');
    ok !-e "$linked->{root}/logs/elsewhere", '... to where it leads';
    is say_in($linked, 'old'), 200, 'the application goes on';
    has("$linked->{root}/logs/passenger.log.1", 'output: old');
    $_->finish for $h, $linked;
}

# As in a container: Apache's own streams are pipes, and the logs.
sub streams {
    my ($mpm) = @_;
    for my $conf ("ErrorLog /proc/self/fd/2\n", "ErrorLog /dev/stderr\nPassengerLogFile /dev/stdout\nPassengerAppLogFile /dev/stderr\n") {
        my $h = Harness->new(mpm => $mpm);
        my $app = $h->copy_app('wsgi');
        mkfifo("$h->{root}/logs/start", 0600) or die "mkfifo: $!";
        my $reader = fork // die "fork: $!";
        exec 'sh', '-c', "cat $h->{root}/logs/start >>$h->{root}/logs/error_log" or POSIX::_exit(127) if !$reader;
        $h->start(conf => "DocumentRoot $app/public\n$conf");
        is say_in($h, 'through_a_stream'), 200, 'logs are ' . $conf =~ s/\n/, /gr;
        soon { $h->log_text =~ /output: through_a_stream/ } '... which get the output', 20;
        $h->graceful;
        is say_in($h, 'after_graceful'), 200, 'after a reload';
        soon { $h->log_text =~ /output: after_graceful/ } '... still', 20;
        $h->finish;
        waitpid $reader, 0;
    }
}
