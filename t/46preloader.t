# The preloaders by themselves: t/lib/preloading.py is their watchdog, since it takes messages with descriptors and credentials.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Temp qw(tempdir);
use Test::More;

my $python = $ENV{PYTHON} // '/usr/bin/python3';
my $ruby = $ENV{RUBY} // '/usr/bin/ruby';
my $top = abs_path(tempdir(CLEANUP => 1));
my %case = (
    python => [$python, 'wsgi-loader.py', 'passenger_wsgi.py', "import atexit\natexit.register(print, 'exit handler')\napplication = lambda environ, start_response: []\n"],
    ruby => [$ruby, 'rack-loader.rb', 'config.ru', "at_exit { puts 'exit handler' }\nrun lambda { |env| [200, {}, []] }\n"],
);

for my $language (sort keys %case) {
    my ($interpreter, $loader, $startup, $source) = @{ $case{$language} };
    subtest $language => sub {
        plan skip_all => "$interpreter is not there" if !-x $interpreter || ($language eq 'ruby' && system("$interpreter -e 'require %q(rack)' 2>/dev/null"));
        mkdir "$top/$language";
        open my $fh, '>', "$top/$language/$startup" or die $!;
        print $fh $source;
        close $fh;
        my @lines = `timeout 60 /usr/bin/python3 t/lib/preloading.py $interpreter helper/loaders/$loader $top/$language/$startup 2>&1`;
        my ($seen, $plan) = (0, -1);
        for (@lines) {
            if    (/^(not )?ok \d+ - (.*)/) { $seen++; ok !$1, $2 }
            elsif (/^1\.\.(\d+)$/)          { $plan = $1 }
            else                            { chomp; diag $_ }
        }
        is $plan, $seen, 'the preloader was tried to the end';
    };
}
done_testing;
